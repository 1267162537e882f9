//! From an image to answers for the kernel.
//!
//! ```text
//! open image → Source → format reader → Tree → View → FUSE session → kernel
//! ```
//!
//! and back, where images are made: layers → merge → pack → format writer.

mod beneath;
pub mod crypt;
pub mod decompress;
pub mod format;
pub mod fuse;
pub mod image;
pub mod integrity;
pub mod layers;
pub mod pack;
pub mod remote;
pub mod source;
pub mod temporary;
pub mod tree;
pub mod view;
