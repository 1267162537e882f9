//! An image that docker's daemon has: asked for by its name, and read as what `docker save` writes.

use std::sync::OnceLock;

use super::archive::{self, Archive};
use super::document::{OciImage, OciLayer};
use super::platform::Platform;
use super::saved::SavedImage;
use super::{Count, LayerBytes, OciError, Store};
use crate::remote::{Daemon, Digest, RemoteError};

/// An image in a daemon's store. The daemon writes images whole and unpacked only, so that it takes
/// the room of all its layers in a file without a name, from when it is first read.
#[derive(Debug)]
pub struct DaemonImage {
    daemon: Daemon,
    image: String,
    saved: OnceLock<Saved>,
}

#[derive(Debug)]
struct Saved {
    archive: SavedImage,
    /// What the daemon calls the image; `None` for a name that stands for one by its tags alone.
    id: Option<Digest>,
}

impl DaemonImage {
    /// The image that the daemon knows as `name`: `NAME[:TAG]` or `sha256:ID`.
    pub fn new(daemon: Daemon, name: &str) -> Self {
        Self {
            daemon,
            image: name.to_owned(),
            saved: OnceLock::new(),
        }
    }

    /// The daemon's ID of the image, which is asked for by its name as it is. That is `latest` to a
    /// daemon, where a name without a tag can be saved by any tag that it has.
    fn id(&self) -> Result<Option<Digest>, OciError> {
        match self.daemon.image_id(&self.image) {
            Ok(id) => id
                .parse()
                .map(Some)
                .map_err(|_| OciError::unusable(&self.name(), format!("{id:?} is no ID"))),
            Err(RemoteError::NotFound { .. }) if !self.image.contains([':', '@']) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn saved(&self) -> Result<&Saved, OciError> {
        if let Some(saved) = self.saved.get() {
            return Ok(saved);
        }
        let id = self.id()?;
        let wanted = id.as_ref().map_or(&*self.image, Digest::as_str);
        let mut file = archive::temporary().map_err(|source| OciError::Read {
            what: "a temporary file".to_owned(),
            source,
        })?;
        self.daemon.export(wanted, &self.image, &mut file)?;
        let archive = SavedImage::of(Archive::of_file(&self.name(), file)?);
        Ok(self.saved.get_or_init(|| Saved { archive, id }))
    }

    /// What stands for the image with this ID. Nobody else can say what another daemon's IDs mean:
    /// images with the same ID are not the same if they are of two daemons.
    fn digest_of(&self, id: &Digest) -> Digest {
        Digest::of(format!("docker-daemon {} {id}", self.daemon.address()).as_bytes())
    }
}

impl Store for DaemonImage {
    fn name(&self) -> String {
        format!("docker-daemon:{}", self.image)
    }

    fn image(&self, platform: &Platform) -> Result<OciImage, OciError> {
        let saved = self.saved()?;
        let mut image = saved.archive.image(platform)?;
        let config = Digest::of(&image.raw_config);
        image.digest = self.digest_of(saved.id.as_ref().unwrap_or(&config));
        image.name = self.name();
        Ok(image)
    }

    fn digest(&self, platform: &Platform) -> Result<Digest, OciError> {
        match self.id()? {
            Some(id) => Ok(self.digest_of(&id)),
            None => self.image(platform).map(|image| image.digest),
        }
    }

    fn open(&self, layers: &[&OciLayer], count: Count) -> Result<Vec<LayerBytes>, OciError> {
        self.saved()?.archive.open(layers, count)
    }
}
