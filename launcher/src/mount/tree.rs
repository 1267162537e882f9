//! Detached mounts as descriptors: cloned from the host, made new, restricted, attached.
//!
//! A descriptor keeps meaning the same thing while paths change, so nothing can be swapped between
//! looking at a source and mounting it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::MountFlags;
use crate::kernel;

/// A detached copy of what is at `path` (relative to `directory`) with all mounts below it.
///
/// # Errors
/// As `open_tree(2)`.
pub fn clone_tree(directory: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_tree(
        directory,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )
}

/// The kernel's bits for `flags`.
pub fn attributes(flags: MountFlags) -> MountAttrFlags {
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, flags.read_only);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, flags.no_suid);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, flags.no_dev);
    attributes
}

/// Adds `flags` to the top mount of a tree; what the host forbids stays forbidden.
///
/// # Errors
/// As `mount_setattr(2)`.
pub fn restrict(tree: BorrowedFd<'_>, flags: MountFlags) -> io::Result<()> {
    let set = attributes(flags);
    if set.is_empty() {
        return Ok(());
    }
    kernel::mount_setattr(tree, false, u64::from(set.bits()), 0)
}

/// Attaches a detached tree to an open place.
///
/// # Errors
/// As `move_mount(2)`.
pub fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(
        tree,
        c"",
        place,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// A new, detached mount of a file system that needs no device.
///
/// # Errors
/// As `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
pub fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    new_mount_with_flags(kind, options, &[], attributes)
}

/// As [`new_mount`], with options that have no value.
///
/// # Errors
/// As `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
pub fn new_mount_with_flags(
    kind: &str,
    options: &[(&str, &str)],
    flags: &[&str],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    for flag in flags {
        fsconfig_set_flag(context.as_fd(), *flag)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
