//! Signatures of SIF images: made and verified as Apptainer does.
//!
//! ```text
//! image     the objects, their groups, what lies on disk
//! digest    digests of header, descriptors and data
//! metadata  what is signed: those digests as JSON
//! pgp       OpenPGP keys, rings of them, clear-signed text
//! raw_key   RSA, ECDSA and Ed25519 keys in PEM files     dsse  the envelope that they sign
//! certificate  X.509 certificates
//! sign, verify, legacy
//! ```
//!
//! A signature covers a group of objects: parts of the header, of each descriptor, and all data.
//! Where objects lie in the file, their group and the machine in the header are not covered, since
//! objects may be moved.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

pub mod certificate;
mod digest;
mod dsse;
mod image;
mod legacy;
mod metadata;
pub mod pgp;
pub mod raw_key;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use image::SignedImage;
pub use sign::{Selection, Signer, sign};
pub use verify::{
    Keys, Listener, Outcome, SignedBy, SignedWith, Task, default_tasks, signed_with, verify,
};

use std::io;

use crate::format::sif::SifError;

/// Why an image cannot be signed, or its signatures do not hold; in Apptainer's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no valid SIF.
    #[error(transparent)]
    Sif(#[from] SifError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing in the image belongs to a group.
    #[error("no groups found")]
    NoGroups,
    /// There is no such group.
    #[error("group not found")]
    GroupNotFound,
    /// There is no such object.
    #[error("object not found")]
    ObjectNotFound,
    /// The object belongs to no group.
    #[error("invalid group ID")]
    NoGroup,
    /// An object belongs to no group, so that nothing can vouch for it.
    #[error("non-signature object not associated with object group")]
    Ungrouped,
    /// No signature covers the group.
    #[error("signature not found for object group {0}")]
    GroupNotSigned(u32),
    /// No signature covers the object.
    #[error("signature not found for object {0}")]
    NotFoundForObject(u32),
    /// The signature is of no known kind.
    #[error("signature format not recognized")]
    Format,
    /// No key of the right kind was given.
    #[error("key material not provided for {0} signature")]
    NoKey(&'static str),
    /// A signature does not hold.
    #[error("signature object {id} not valid: {reason}")]
    NotValid {
        /// The signature.
        id: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// The descriptor names another signer.
    #[error("fingerprint in descriptor does not correspond to signing entity")]
    Fingerprint,
    /// What was signed cannot be understood.
    #[error("signature object {id} not valid: {reason}")]
    Metadata {
        /// The signature.
        id: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// The object is not among those signed.
    #[error("object {0}: object not signed")]
    ObjectNotSigned(u32),
    /// An object that was signed is gone.
    #[error("object {0}: signed object not found")]
    SignedObjectNotFound(u32),
    /// The header was changed.
    #[error("header integrity compromised")]
    Header,
    /// A descriptor was changed.
    #[error("data object descriptor integrity compromised: {0}")]
    Descriptor(u32),
    /// Data was changed.
    #[error("data object integrity compromised: {0}")]
    Object(u32),
    /// Signing failed.
    #[error("{0}")]
    Signing(String),
}

/// What the library that Apptainer uses says of a signer whose key is not there.
const UNKNOWN_ENTITY: &str = "openpgp: signature made by unknown entity";

impl Error {
    /// Whether all that is wrong with a signature is that nobody knows whose it is.
    pub fn is_unknown_signer(&self) -> bool {
        matches!(self, Self::NotValid { reason, .. } if reason == UNKNOWN_ENTITY)
    }
}
