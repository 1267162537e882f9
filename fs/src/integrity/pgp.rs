//! OpenPGP: keys, rings of keys, clear-signed text.
//!
//! ```text
//! packets    a ring cut into its keys, unread
//! public     a public key: whose it is, which of its keys may sign
//! secret     a secret key: made, locked, unlocked, signing
//! ring       files of keys
//! clearsign  signed text
//! ```

mod clearsign;
mod packets;
mod public;
mod ring;
mod secret;

pub(super) use clearsign::{ClearSigned, is_clear_signed};
pub use public::{PublicKey, UserId};
pub use ring::{KeysFolder, Ring, armoured, parse_public, parse_secret, read_any};
pub use secret::{NewKey, SecretKey};

/// Fingerprint of a key of version 4.
pub type Fingerprint = [u8; 20];

/// Why a key or a ring of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PgpError {
    /// Reading or writing the file failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What OpenPGP itself has to say.
    #[error("openpgp: {0}")]
    OpenPgp(String),
}

impl From<pgp::errors::Error> for PgpError {
    fn from(error: pgp::errors::Error) -> Self {
        Self::OpenPgp(error.to_string())
    }
}

/// Hexadecimal digits in capitals.
pub fn fingerprint_text(fingerprint: &[u8]) -> String {
    super::digest::hex(fingerprint).to_ascii_uppercase()
}

/// Reads hexadecimal digits as a fingerprint.
pub fn parse_fingerprint(text: &str) -> Option<Fingerprint> {
    super::digest::from_hex(text)?.try_into().ok()
}
