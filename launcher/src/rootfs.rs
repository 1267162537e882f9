//! The door through which the launcher gets a mounted image without knowing how it is made.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::idmap::IdMap;

/// What must exist at a bind point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindPointKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
}

/// A place inside the container that something will be bound onto. Where the image lacks it, the
/// provider's tree shows an empty directory or file there, with the directories leading to it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct BindPoint {
    /// Absolute path in the container, lexically clean (no `.`, `..`, doubled slashes).
    pub path: PathBuf,
    /// What to create when it is missing.
    pub kind: BindPointKind,
    /// Leave it missing when a component of `path` that the image has is not a real directory
    /// (the rule for the working directory); otherwise symbolic links are followed in the image.
    pub only_through_directories: bool,
}

/// A mounted root, ready to be attached.
#[derive(Debug)]
pub struct Rootfs {
    /// Detached mount (`open_tree(2)` with `OPEN_TREE_CLONE`) of the image's tree.
    pub tree: OwnedFd,
    /// The user namespace that owns the mount, to be joined before attaching; `None` where the
    /// mount belongs to the caller's own user namespace (real root).
    pub user_namespace: Option<OwnedFd>,
}

/// A file system inside an image file, to be served beside the root.
#[derive(Debug)]
pub struct ServedLayer<'a> {
    /// The open image.
    pub file: std::os::fd::BorrowedFd<'a>,
    /// Its name, for messages.
    pub path: &'a std::path::Path,
    /// First byte of the file system.
    pub offset: u64,
    /// Number of bytes.
    pub size: u64,
    /// Ids of the user namespace that sees it; `None`: each has its own number.
    pub ids: Option<&'a IdMap>,
}

/// Makes mounted roots; implemented by the program over the file system server.
pub trait RootfsProvider {
    /// Answers for `layer` on `device`, a FUSE device that is mounted, until it is mounted nowhere
    /// any more. Called in a process of its own, which may have threads.
    ///
    /// # Errors
    /// What is wrong with the image.
    fn serve_layer(&mut self, layer: &ServedLayer<'_>, device: OwnedFd) -> std::io::Result<()>;

    /// Returns a tree of the image in which every one of `points` that can exist does exist. With
    /// `ids` its user namespace has these; else, the caller's, each under its own number.
    ///
    /// # Errors
    /// Anything that keeps the image from being mounted, worded for the user.
    fn provide(
        &mut self,
        points: &[BindPoint],
        ids: Option<&IdMap>,
    ) -> Result<Rootfs, Box<dyn std::error::Error + Send + Sync>>;
}
