//! OCI and docker images: their documents, and where their layers are.
//!
//! ```text
//! registry ─┐                     ┌─ configuration (as it is, and what matters of it)
//! layout  ──┼─► index ─ platform ─┤
//! archive ──┤        ─► manifest  └─ layers, the lowest first: digest, size, type
//! ```
//! A [`Store`] hands out documents that were compared with their digests; the bytes of layers are
//! compared by whoever unpacks them.

mod archive;
mod daemon;
mod document;
mod layout;
mod platform;
mod registry;
mod saved;

pub use archive::OciArchive;
pub use daemon::DaemonImage;
pub use document::{Config, OciConfig, OciImage, OciLayer};
pub use layout::Layout;
pub use platform::Platform;
pub use registry::RegistryStore;
pub use saved::SavedImage;

use std::io::{self, Read};

use crate::remote::{Digest, RemoteError};

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// It is in a registry, and that says no.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A file of it cannot be read.
    #[error("{what}")]
    Read {
        /// The file, or the part of an archive.
        what: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{name}: {reason}")]
    Unusable {
        /// The image.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is none for the machine that was asked for.
    #[error("{name}: no image for {wanted}; there are {found}")]
    Platform {
        /// The image.
        name: String,
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        found: String,
    },
}

impl OciError {
    fn unusable(name: &str, reason: impl Into<String>) -> Self {
        Self::Unusable {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}

/// A place that has an image.
pub trait Store: Send + Sync {
    /// The image's name, for messages.
    fn name(&self) -> String;

    /// The image for `platform`.
    ///
    /// # Errors
    /// [`OciError`]
    fn image(&self, platform: &Platform) -> Result<OciImage, OciError>;

    /// The digest of that image, where it can be had for less than the image.
    ///
    /// # Errors
    /// [`OciError`]
    fn digest(&self, platform: &Platform) -> Result<Digest, OciError> {
        self.image(platform).map(|image| image.digest)
    }

    /// The bytes of these layers, which are going to be read in this order. `count` is told of what
    /// comes from a network.
    ///
    /// # Errors
    /// [`OciError`]
    fn open(&self, layers: &[&OciLayer], count: Count) -> Result<Vec<LayerBytes>, OciError>;
}

/// Is told how many more bytes of which layer came.
pub type Count = Box<dyn Fn(usize, u64) + Send + Sync>;

/// The bytes of a layer, as they are stored.
pub type LayerBytes = Box<dyn Read + Send>;

/// Reads at most `limit` bytes of what should be a small document.
fn read_document(reader: &mut dyn Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("longer than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
