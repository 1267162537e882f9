//! An image that docker's daemon has: asked for by its name, and read as what `docker save` writes.

use std::sync::OnceLock;

use serde_json::Value;

use super::archive::Archive;
use super::document::{OciImage, OciLayer};
use super::platform::Platform;
use super::saved::SavedImage;
use super::{Count, LayerBytes, OciError, Store};
use crate::remote::{Daemon, Digest, RemoteError};
use crate::temporary;

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
        let parts = self.image.split('/');
        if parts.clone().any(|part| matches!(part, "" | "." | "..")) {
            return Err(self.wrong("that is no name of an image"));
        }
        let id: Digest = match self.daemon.image_id(&self.image) {
            Ok(id) => id
                .parse()
                .map_err(|_| self.wrong("the daemon's ID of it is no digest"))?,
            Err(RemoteError::NotFound { .. }) if !self.image.contains([':', '@']) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let named: Option<Digest> = self.image.parse().ok();
        match named {
            Some(named) if named != id => Err(self.wrong("the daemon says that it has another ID")),
            _ => Ok(Some(id)),
        }
    }

    fn saved(&self) -> Result<&Saved, OciError> {
        if let Some(saved) = self.saved.get() {
            return Ok(saved);
        }
        let id = self.id()?;
        let wanted = id.as_ref().map_or(&*self.image, Digest::as_str);
        let mut file =
            tempfile::tempfile_in(temporary::directory()).map_err(|source| OciError::Read {
                what: "a temporary file".to_owned(),
                source,
            })?;
        self.daemon.export(wanted, &self.image, &mut file)?;
        let archive = SavedImage::of(Archive::of_file(&self.name(), file)?);
        Ok(self.saved.get_or_init(|| Saved { archive, id }))
    }

    /// What an image is kept under for the next time.
    fn digest_of(id: &Digest) -> Digest {
        Digest::of(format!("docker-daemon {id}").as_bytes())
    }

    fn wrong(&self, reason: &str) -> OciError {
        OciError::unusable(&self.name(), reason)
    }
}

impl Saved {
    /// Whether the image with configuration `config` has the ID that the daemon says: the
    /// configuration's digest; or, where images are containerd's, that of a manifest or an index
    /// that leads to it.
    fn is_what_it_is_called(&self, id: &Digest, config: &Digest) -> bool {
        id == config
            || self.document(id).is_some_and(|document| {
                let manifests = document.get("manifests").and_then(Value::as_array);
                let manifests = manifests.into_iter().flatten();
                let manifests = manifests.filter_map(|it| self.document(&digest_in(it)?));
                std::iter::once(document.clone())
                    .chain(manifests)
                    .any(|it| it.get("config").and_then(digest_in).as_ref() == Some(config))
            })
    }

    /// The document with this digest, if it is in the archive.
    fn document(&self, digest: &Digest) -> Option<Value> {
        let path = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let bytes = self.archive.document(&path).ok()?;
        digest.fits(&bytes).then_some(())?;
        serde_json::from_slice(&bytes).ok()
    }
}

fn digest_in(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}

impl Store for DaemonImage {
    fn name(&self) -> String {
        format!("docker-daemon:{}", self.image)
    }

    fn image(&self, platform: &Platform) -> Result<OciImage, OciError> {
        let saved = self.saved()?;
        let mut image = saved.archive.image(platform)?;
        let config = Digest::of(&image.raw_config);
        // What is kept under an ID is what the ID says, whatever daemon answers at an address.
        if let Some(id) = &saved.id
            && !saved.is_what_it_is_called(id, &config)
        {
            return Err(self.wrong("what the daemon sends is not the image with its ID"));
        }
        image.digest = Self::digest_of(saved.id.as_ref().unwrap_or(&config));
        image.name = self.name();
        Ok(image)
    }

    fn digest(&self, platform: &Platform) -> Result<Digest, OciError> {
        match self.id()? {
            Some(id) => Ok(Self::digest_of(&id)),
            None => self.image(platform).map(|image| image.digest),
        }
    }

    fn open(&self, layers: &[&OciLayer], count: Count) -> Result<Vec<LayerBytes>, OciError> {
        self.saved()?.archive.open(layers, count)
    }
}
