//! Identity of a blob, and the file names that follow from it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// What tells a blob from all others: a digest, or place, size and version where there is none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BlobKey(String);

impl BlobKey {
    /// The key with this text; any text will do.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its digest, which is what files are named by: keys come from servers.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest(self.0.as_bytes())
    }

    /// Its digest in hexadecimal digits: the name of its files, without extension.
    pub fn stem(&self) -> String {
        hex(&self.digest())
    }
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
