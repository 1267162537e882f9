//! What can be wrong with a layer.

use std::path::PathBuf;

/// Why a layer cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OverlayError {
    /// Somebody else writes to it, or it is to be written to while others read.
    #[error(
        "while loading overlay images: failed to open overlay image {given}: while locking ext3 partition from {}: can't open {} for {purpose} by another process",
        path.display(), path.display()
    )]
    Locked {
        /// As the user named it.
        given: String,
        /// The image.
        path: PathBuf,
        /// `writing, currently in use` or `reading, currently in use for writing`.
        purpose: &'static str,
    },
    /// It cannot be opened.
    #[error("container creation failed: could not open layer {}: {reason}", path.display())]
    Open {
        /// The layer.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// Changes have no place in it.
    #[error("container creation failed: could not make {name} in {layer}: {reason}")]
    Upper {
        /// `upper`, `work` or `work/work`.
        name: &'static str,
        /// The layer.
        layer: String,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// A program that is needed is not installed.
    #[error(
        "container creation failed: {name} is needed and was not found; install it (Debian and Ubuntu: {package})"
    )]
    NoProgram {
        /// The program.
        name: &'static str,
        /// Debian package.
        package: &'static str,
    },
    /// The kernel cannot write there, and the program that could is not installed.
    #[error(
        "container creation failed: {layer} cannot be the writable layer of an overlay ({why}) and {name} is not installed, which could use it; take a directory on a local disk, an ext3 image (`overlay create`) or --writable-tmpfs instead, or install {name}"
    )]
    NotHere {
        /// The program.
        name: &'static str,
        /// The layer.
        layer: String,
        /// What the kernel, or its file system, lacks.
        why: String,
    },
    /// A program did not mount what it was to mount.
    #[error("container creation failed: image driver mount failure: {name} exited: {said}")]
    Failed {
        /// The program.
        name: &'static str,
        /// Its own words.
        said: String,
    },
    /// A process for it could not be had.
    #[error("container creation failed: starting {name}: {reason}")]
    Start {
        /// The program.
        name: &'static str,
        /// The kernel's answer in C's words.
        reason: String,
    },
}
