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

pub mod entry;

pub use entry::{Entry, EntryKind, Layer, LayerError, Visit};
