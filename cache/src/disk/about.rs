//! What a cached blob is, for people and for finding it again.

use serde::{Deserialize, Serialize};

use super::key::BlobKey;

/// Kind of place a blob came from; `cache list` shows it as a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A SIF in a registry.
    Oras,
    /// A file on a web server.
    Net,
    /// A layer in a registry.
    Oci,
    /// A file on a network file system.
    File,
    /// A SIF made of an OCI image; such files are whole, and not kept as blobs.
    Converted,
}

/// What is known of the blob as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not been compared with its digest, or has none.
    #[default]
    Unverified,
    /// Every part was compared with a published digest of its own when it came.
    Parts,
    /// All of it was there once and had the digest it should have.
    Verified,
    /// All of it was there and did not have it.
    Mismatch,
}

/// What whoever opens a blob says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// What users call it: a URL or path.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// `sha256:<hex>` of the whole, where it is known.
    pub digest: Option<String>,
    /// Where it came from.
    pub kind: BlobKind,
}

/// A blob as a listing shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobInfo {
    /// Its identity.
    pub key: BlobKey,
    /// What it is.
    pub about: About,
    /// Bytes that are there, by the index.
    pub cached_bytes: u64,
    /// When it was first opened, Unix milliseconds.
    pub created: u64,
    /// When anything of it was last read, Unix milliseconds.
    pub last_use: u64,
    /// Never evicted.
    pub pinned: bool,
    /// Comparison with the digest.
    pub state: State,
}

/// The `.about` file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) digest: Option<String>,
    pub(super) kind: BlobKind,
    pub(super) created: u64,
    #[serde(default)]
    pub(super) state: State,
}

impl Record {
    pub(super) fn new(key: &BlobKey, about: &About, created: u64) -> Self {
        Self {
            key: key.as_str().to_owned(),
            name: about.name.clone(),
            size: about.size,
            digest: about.digest.clone(),
            kind: about.kind,
            created,
            state: State::Unverified,
        }
    }

    pub(super) fn about(&self) -> About {
        About {
            name: self.name.clone(),
            size: self.size,
            digest: self.digest.clone(),
            kind: self.kind,
        }
    }
}
