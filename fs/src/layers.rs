//! Layers of files, and the one tree they amount to.
//!
//! ```text
//! memory (skiff's own files)  ┐ top
//! overlay upper directory     │
//! tar of a registry's layer   ├─ merge, top first ──► pack::Sink, pack::InodeTree
//! tree of an image, directory │
//! memory (defaults)           ┘ bottom
//! ```
//! Layers are read once, from the top to the bottom: what an upper layer has or hides is known when a
//! lower one comes, so that content which is not part of the result is never written.

pub mod directory;
pub mod entry;
pub mod inflate;
pub mod limits;
pub mod memory;
pub mod merge;
pub mod tar;
pub mod tree;
mod whiteout;

pub use directory::DirectoryLayer;
pub use entry::{Entry, EntryKind, Layer, LayerError, Visit};
pub use inflate::{Expected, inflate};
pub use limits::Limits;
pub use memory::MemoryLayer;
pub use merge::{Devices, MergeOptions, Merged, Owners, Xattrs, merge};
pub use tar::TarLayer;
pub use tree::TreeLayer;
