//! What a name stood for when it was looked up: the identity of the bytes and where they are.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::validator::Validator;

/// A blob that was found: which bytes, how many, and where. A value that can be stored and sent; it
/// holds no passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The image's name for messages and listings.
    pub reference: String,
    /// Identity of the bytes and of who vouches for them: the same for all names in a registry that
    /// stand for the same blob.
    pub key: String,
    /// How many bytes.
    pub size: u64,
    /// Digest of them all, where a registry vouches for it.
    pub digest: Option<String>,
    /// What a registry or web server says they are.
    pub media_type: Option<String>,
    /// Whether the server gives parts; if not, the blob is best read once from start to end.
    pub has_ranges: bool,
    /// Where they are.
    pub location: Location,
}

/// Where a blob is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// On a web server.
    Http {
        /// Its URL, without user name and password.
        url: String,
        /// The version of the file.
        validator: Validator,
    },
    /// In a registry.
    Registry {
        /// `host` or `host:port`.
        registry: String,
        /// The name within the registry.
        repository: String,
        /// Whether the user named a digest; some mirrors are for those only.
        pinned: bool,
        /// The blob's digest.
        digest: Digest,
        /// Digest of the manifest that names it: what other artifacts refer to.
        manifest: Digest,
    },
}
