//! An image layout: a directory with `index.json` and blobs by their digests.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::document::{self, Descriptor, Kind, MAX_DOCUMENT, OciImage, OciLayer};
use super::platform::Platform;
use super::{Count, LayerBytes, OciError, Store, read_document};
use crate::remote::Digest;

/// How a layout calls an image.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where the files of a layout are.
pub(super) trait Files: Send + Sync {
    fn name(&self) -> String;
    /// The file at a path within the layout, and its length.
    fn open(&self, path: &str) -> Result<(LayerBytes, u64), OciError>;
}

/// An image of a layout.
#[derive(Debug)]
pub struct Layout {
    files: Directory,
    /// Digest or tag of the image; none if there is only one.
    wanted: Option<String>,
}

#[derive(Debug)]
struct Directory(PathBuf);

impl Layout {
    /// The layout in the directory that `text` names: `DIR`, `DIR@sha256:…` or `DIR:TAG`.
    pub fn new(text: &str) -> Self {
        let (path, wanted) = split(text);
        Self {
            files: Directory(path),
            wanted,
        }
    }
}

/// Path and wanted image. What exists as a whole is a path.
pub(super) fn split(text: &str) -> (PathBuf, Option<String>) {
    let whole = Path::new(text);
    if whole.symlink_metadata().is_ok() {
        return (whole.to_owned(), None);
    }
    if let Some((path, digest)) = text.rsplit_once('@')
        && digest.parse::<Digest>().is_ok()
    {
        return (path.into(), Some(digest.to_owned()));
    }
    // Any colon may be the one; a tag may have some itself.
    let mut colons = text.match_indices(':');
    let found = colons.find_map(|(at, _)| {
        let (path, tag) = text.split_at(at);
        let is_path = !path.is_empty() && Path::new(path).symlink_metadata().is_ok();
        is_path.then(|| (PathBuf::from(path), tag.get(1..).map(str::to_owned)))
    });
    found.unwrap_or_else(|| (whole.to_owned(), None))
}

impl Files for Directory {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self, path: &str) -> Result<(LayerBytes, u64), OciError> {
        let whole = self.0.join(path);
        let failed = |source| OciError::Read {
            what: whole.display().to_string(),
            source,
        };
        // A named pipe would be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file =
            rustix::fs::open(&whole, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let file = File::from(file);
        let data = file.metadata().map_err(failed)?;
        if !data.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        Ok((Box::new(file), data.len()))
    }
}

impl Store for Layout {
    fn name(&self) -> String {
        format!("oci:{}", self.files.name())
    }

    fn image(&self, platform: &Platform) -> Result<OciImage, OciError> {
        image(&self.files, &self.name(), self.wanted.as_deref(), platform)
    }

    fn open(&self, layers: &[&OciLayer], _: Count) -> Result<Vec<LayerBytes>, OciError> {
        open(&self.files, layers)
    }
}

/// The image of the layout in `files` that `wanted` names.
pub(super) fn image(
    files: &dyn Files,
    name: &str,
    wanted: Option<&str>,
    platform: &Platform,
) -> Result<OciImage, OciError> {
    let bytes = document(files, "index.json")?;
    let Kind::Index(manifests) = document::parse(name, &bytes, None)? else {
        return Err(OciError::unusable(name, "index.json is no index"));
    };
    let has_name = |it: &&Descriptor| match wanted {
        Some(wanted) => {
            it.digest.as_str() == wanted
                || it
                    .annotations
                    .get(REF_NAME)
                    .is_some_and(|tag| tag == wanted)
        }
        None => true,
    };
    let mut found = manifests.iter().filter(has_name);
    let chosen = match (found.next(), found.next(), wanted) {
        (Some(only), None, _) => only,
        (Some(first), Some(_), Some(_)) => first,
        (Some(_), Some(_), None) => {
            return Err(OciError::unusable(
                name,
                "must specify a digest - layout contains multiple images",
            ));
        }
        (None, _, Some(wanted)) => {
            return Err(OciError::unusable(
                name,
                format!("there is no image {wanted} in it"),
            ));
        }
        (None, _, None) => return Err(OciError::unusable(name, "there is no image in it")),
    };
    let fetch = |wanted: &Descriptor, _: bool| checked(files, name, wanted);
    let top = (
        chosen.digest.clone(),
        checked(files, name, chosen)?,
        Some(chosen.media_type.clone()),
    );
    document::image(name, top, platform, &fetch)
}

pub(super) fn open(files: &dyn Files, layers: &[&OciLayer]) -> Result<Vec<LayerBytes>, OciError> {
    let mut readers = Vec::new();
    for layer in layers {
        let path = match (&layer.path, &layer.digest) {
            (Some(path), _) => path.clone(),
            (None, Some(digest)) => blob(digest),
            (None, None) => {
                return Err(OciError::unusable(&files.name(), "a layer without a name"));
            }
        };
        let (reader, size) = files.open(&path)?;
        if size != layer.size {
            return Err(OciError::unusable(
                &files.name(),
                format!("{path} has {size} bytes, not {} as promised", layer.size),
            ));
        }
        readers.push(reader);
    }
    Ok(readers)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn checked(files: &dyn Files, name: &str, wanted: &Descriptor) -> Result<Vec<u8>, OciError> {
    let bytes = document(files, &blob(&wanted.digest))?;
    if wanted.digest.fits(&bytes) {
        Ok(bytes)
    } else {
        let reason = format!("the bytes do not fit their digest {}", wanted.digest);
        Err(OciError::unusable(name, reason))
    }
}

/// A small file as a whole.
pub(super) fn document(files: &dyn Files, path: &str) -> Result<Vec<u8>, OciError> {
    let (mut reader, _) = files.open(path)?;
    let reader: &mut dyn Read = &mut reader;
    read_document(reader, MAX_DOCUMENT).map_err(|source| OciError::Read {
        what: format!("{}/{path}", files.name()),
        source,
    })
}
