//! One layer, from its name to a detached tree.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::error::OverlayError;
use super::{program, served};
use crate::error::{errno_reason, reason};
use crate::idmap::IdMap;
use crate::kernel;
use crate::mount::{resolve, tree};
use crate::request::writing::{Layer, LayerContent};
use crate::rootfs::{RootfsProvider, ServedLayer};

/// An open layer.
#[derive(Debug)]
pub(super) struct Opened {
    /// Detached.
    pub(super) tree: OwnedFd,
}

/// Opens layers.
pub(super) struct Opener<'a, 'b> {
    /// Serves squashfs.
    pub(super) provider: Option<&'a mut (dyn RootfsProvider + 'b)>,
    /// Held by programs until what they wrote is on disk.
    pub(super) flushing: BorrowedFd<'a>,
    /// Ids of the container's user namespace.
    pub(super) ids: Option<&'a IdMap>,
}

impl Opener<'_, '_> {
    /// Opens `layer`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(&mut self, layer: &Layer) -> Result<Opened, OverlayError> {
        let tree = match layer.content {
            LayerContent::Directory => directory(layer)?,
            LayerContent::Ext3 { offset, size } => {
                let file = open_file(layer)?;
                lock(layer, file.as_fd(), offset, size)?;
                program::ext3(&program::Ext3 {
                    file: file.as_fd(),
                    offset,
                    writable: layer.writable,
                    flushing: layer.writable.then_some(self.flushing),
                })?
            }
            LayerContent::Squashfs { offset, size } => {
                let file = open_file(layer)?;
                let failed = |reason| OverlayError::Open {
                    path: layer.path.clone(),
                    reason,
                };
                let provider = self
                    .provider
                    .as_deref_mut()
                    .ok_or_else(|| failed("nobody serves it".to_owned()))?;
                let wish = ServedLayer {
                    file: file.as_fd(),
                    path: &layer.path,
                    offset,
                    size,
                    ids: self.ids,
                };
                served::mount(&wish, provider).map_err(|error| failed(reason(&error)))?
            }
        };
        Ok(Opened { tree })
    }
}

fn directory(layer: &Layer) -> Result<OwnedFd, OverlayError> {
    let failed = |error| OverlayError::Open {
        path: layer.path.clone(),
        reason: errno_reason(error),
    };
    if layer.writable {
        // Made on the host, where an overlay in use could be looked at.
        let base = rustix::fs::openat(
            CWD,
            &layer.path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed)?;
        for name in ["upper", "work"] {
            resolve::make_directory(base.as_fd(), name.as_ref(), 0o755).map_err(|error| {
                OverlayError::Upper {
                    name,
                    layer: layer.path.display().to_string(),
                    reason: errno_reason(error),
                }
            })?;
        }
    }
    tree::clone_tree(CWD, &layer.path).map_err(failed)
}

fn open_file(layer: &Layer) -> Result<File, OverlayError> {
    let open = |path: &Path| {
        File::options()
            .read(true)
            .write(layer.writable)
            .open(path)
            .map_err(|error| OverlayError::Open {
                path: layer.path.clone(),
                reason: reason(&error),
            })
    };
    open(&layer.path)
}

/// Locks the part of the file that the file system has, as Apptainer does; a place without locks
/// goes without.
fn lock(layer: &Layer, file: BorrowedFd<'_>, offset: u64, size: u64) -> Result<(), OverlayError> {
    match kernel::lock_range(file, layer.writable, offset, size) {
        Ok(true) | Err(_) => Ok(()),
        Ok(false) => Err(OverlayError::Locked {
            given: layer.given.display().to_string(),
            path: layer.path.clone(),
            purpose: if layer.writable {
                "writing, currently in use"
            } else {
                "reading, currently in use for writing"
            },
        }),
    }
}
