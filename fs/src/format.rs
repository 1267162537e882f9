//! Readers of image formats: bytes of a [`Source`](crate::source::Source) in, a
//! [`Tree`](crate::tree::Tree) or facts out.
//!
//! Every number in an image is hostile until checked: it is compared with the real size of the
//! source before anything is read or allocated on its word, and arithmetic on it cannot overflow.
//! The lints below hold the readers to that.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

mod bytes;
pub mod gocryptfs;
pub mod oci;
pub(crate) mod probe;
pub mod sif;
pub mod squashfs;
