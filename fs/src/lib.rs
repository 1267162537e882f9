//! From an image to answers for the kernel.
//!
//! ```text
//! open image → Source → format reader → Tree → View → FUSE session → kernel
//! ```

pub mod decompress;
pub mod format;
pub mod fuse;
pub mod image;
pub mod remote;
pub mod source;
pub mod tree;
pub mod view;
