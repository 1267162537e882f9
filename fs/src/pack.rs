//! Making file systems: what is to be written, and who writes it.
//!
//! ```text
//! layers ── merge ──► Sink::file (content, as it comes)      ┐
//!                └──► InodeTree  (names and attributes, last) ├─► squashfs, or a directory
//! ```
//! Content is handed over while layers are still being read, so that nothing has to be kept; names
//! and attributes stay in memory until all is known.

pub mod directory;
pub mod inodes;
pub mod place;
pub mod profile;
pub mod sink;

pub use directory::{DirectoryOptions, DirectorySink};
pub use inodes::{Content, Inode, InodeId, InodeTree, Metadata, Xattr};
pub use place::{Replace, Target, put_directory};
pub use profile::AccessProfile;
pub use sink::{FileData, Sink, SinkError};
