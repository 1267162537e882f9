//! What may be written to in the container, and where it is kept: overlays, `--writable`,
//! `--writable-tmpfs`; and what else comes out of image files, data bound with `image-src=`.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

/// What the root image is, as far as writing to it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RootFormat {
    /// A directory.
    #[default]
    Sandbox,
    /// A SIF, which may have an overlay of its own.
    Sif,
    /// A squashfs file, which nobody can write to.
    Squashfs,
}

/// A tree that lies in a file, or a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerContent {
    /// The directory itself.
    Directory,
    /// An ext3 file system at this place of the file.
    Ext3 {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        size: u64,
    },
    /// A squashfs file system at this place of the file.
    Squashfs {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        size: u64,
    },
}

/// One image or directory that is laid over the root, or from which data is bound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Layer {
    /// Absolute path, symbolic links resolved.
    pub path: PathBuf,
    /// As the user named it, for messages.
    #[serde(skip)]
    pub given: OsString,
    /// What it holds.
    pub content: LayerContent,
    /// What is changed in the container is kept in it.
    pub writable: bool,
}

/// Wishes about writing to the root (compat-runtime section 18).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WritingWish {
    /// `--writable`: the root itself.
    pub writable: bool,
    /// `--writable-tmpfs`: changes are lost with the container.
    pub writable_tmpfs: bool,
    /// `--overlay`, in the order given; later ones lie above earlier ones.
    pub overlays: Vec<Layer>,
    /// Overlay partitions of the root image itself.
    pub embedded: Vec<Layer>,
    /// What the root image is.
    pub root: RootFormat,
}
