//! What can go wrong with an image that is elsewhere.

use std::io;
use std::time::Duration;

use super::observer::seconds;
use super::reference::ReferenceError;

/// Why bytes of a remote image cannot be had. Each text is one line that names the image or server
/// and carries no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The name is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The server says there is no such thing.
    #[error("{url}: not there: {detail}")]
    NotFound {
        /// What was asked for.
        url: String,
        /// What the server said.
        detail: String,
    },
    /// The server does not let us.
    #[error("{url}: access denied: {detail}")]
    Denied {
        /// What was asked for.
        url: String,
        /// What the server said, or what is missing.
        detail: String,
    },
    /// The server's certificate is not trusted.
    #[error("{url}: {reason}")]
    Untrusted {
        /// What was asked for.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server did not give the bytes in time.
    #[error("{url}: gave up after {}: {reason}", seconds(*.after))]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened last.
        reason: String,
        /// How long it was tried.
        after: Duration,
    },
    /// The image was replaced while it was in use.
    #[error(
        "{url}: the image was replaced on the server while it was in use ({what}); start again to use the new one"
    )]
    Changed {
        /// What was asked for.
        url: String,
        /// By what it was noticed.
        what: String,
    },
    /// The server answers in a way that cannot be used.
    #[error("{url}: {reason}")]
    Unusable {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Bytes that are not those that were promised.
    #[error("{url}: the bytes do not fit their digest {digest}")]
    Mismatch {
        /// What was asked for.
        url: String,
        /// What the bytes should have had.
        digest: String,
    },
    /// The network is needed and must not be used.
    #[error("{name}: not in the cache, and the network is not to be used (offline)")]
    Offline {
        /// The image.
        name: String,
    },
    /// A registry that registries.conf blocks.
    #[error("{name}: registry {registry} is blocked by {file}")]
    Blocked {
        /// The image.
        name: String,
        /// The prefix that matched.
        registry: String,
        /// The file that says so.
        file: String,
    },
    /// A file of the user's or the site's configuration cannot be used.
    #[error("{file}: {reason}")]
    Configuration {
        /// Which file, variable or setting.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<RemoteError> for io::Error {
    fn from(error: RemoteError) -> Self {
        let kind = match &error {
            RemoteError::NotFound { .. } => io::ErrorKind::NotFound,
            RemoteError::Denied { .. }
            | RemoteError::Blocked { .. }
            | RemoteError::Untrusted { .. } => io::ErrorKind::PermissionDenied,
            RemoteError::Unreachable { .. } | RemoteError::Offline { .. } => {
                io::ErrorKind::TimedOut
            }
            RemoteError::Changed { .. } => io::ErrorKind::StaleNetworkFileHandle,
            RemoteError::Unusable { .. } | RemoteError::Mismatch { .. } => {
                io::ErrorKind::InvalidData
            }
            RemoteError::Reference(_) | RemoteError::Configuration { .. } => {
                io::ErrorKind::InvalidInput
            }
        };
        Self::new(kind, error)
    }
}
