//! An encrypted image on its way to the holder: its name, which file that is, and the key.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skiff_fs::format::gocryptfs::ContentKey;
use skiff_fs::image::Image;

use super::file_of;
use crate::sealed;

/// First line of a sealed description.
const TITLE: &[u8] = b"skiff locked image 1\n";

/// The description.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockedImage {
    path: PathBuf,
    device: u64,
    inode: u64,
    key: ContentKey,
}

impl LockedImage {
    /// Describes `image`, if it is one that was opened with a key.
    pub(super) fn of(image: &Image) -> io::Result<Option<Self>> {
        let Some(key) = image.content_key() else {
            return Ok(None);
        };
        let metadata = file_of(image)?.metadata()?;
        Ok(Some(Self {
            path: std::path::absolute(image.path())?,
            device: metadata.dev(),
            inode: metadata.ino(),
            key: key.clone(),
        }))
    }

    pub(super) fn seal(&self) -> io::Result<OwnedFd> {
        sealed::seal(TITLE, self)
    }

    pub(super) fn unseal(file: &File) -> io::Result<Option<Self>> {
        sealed::unseal(file, TITLE)
    }

    /// Opens the image, if its name still leads to it.
    pub(super) fn open(self) -> io::Result<Image> {
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        if (metadata.dev(), metadata.ino()) != (self.device, self.inode) {
            let text = format!("image {} was replaced meanwhile", self.path.display());
            return Err(io::Error::other(text));
        }
        let image = Image::from_file(file, &self.path).map_err(io::Error::other)?;
        Ok(image.with_content_key(Some(self.key)))
    }
}
