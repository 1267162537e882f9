//! Owners, permissions, times and extended attributes.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::DirectoryOptions;
use crate::beneath;
use crate::pack::{Metadata, Xattr};

/// What an open directory gets.
pub(super) fn directory(
    directory: &OwnedFd,
    metadata: &Metadata,
    options: &DirectoryOptions,
) -> Result<(), Errno> {
    if options.owners {
        let (uid, gid) = owner(metadata);
        given(rustix::fs::fchown(directory, uid, gid), options)?;
    }
    for xattr in metadata.xattrs.iter() {
        let (name, value) = xattr;
        let set = rustix::fs::fsetxattr(directory, &**name, value, XattrFlags::empty());
        tolerate(set, xattr, options)?;
    }
    rustix::fs::fchmod(directory, mode(metadata))?;
    rustix::fs::futimens(directory, &times(metadata))
}

/// What a name that is no directory gets; `plain`: it is a regular file.
pub(super) fn file(
    directory: &OwnedFd,
    name: &CStr,
    metadata: &Metadata,
    plain: bool,
    is_link: bool,
    options: &DirectoryOptions,
) -> Result<(), Errno> {
    if options.owners {
        let (uid, gid) = owner(metadata);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        given(
            rustix::fs::chownat(directory, name, uid, gid, flags),
            options,
        )?;
    }
    if !metadata.xattrs.is_empty() {
        xattrs(directory, name, &metadata.xattrs, plain, options)?;
    }
    if !is_link {
        // The name is ours and no link.
        rustix::fs::chmodat(directory, name, mode(metadata), AtFlags::empty())?;
    }
    rustix::fs::utimensat(directory, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)
}

fn xattrs(
    directory: &OwnedFd,
    name: &CStr,
    xattrs: &[Xattr],
    plain: bool,
    options: &DirectoryOptions,
) -> Result<(), Errno> {
    if plain {
        let file = beneath::open(
            directory,
            name.to_bytes(),
            rustix::fs::OFlags::RDONLY,
            Mode::empty(),
            rustix::fs::ResolveFlags::empty(),
        )?;
        for xattr in xattrs {
            let set = rustix::fs::fsetxattr(&file, &*xattr.0, &xattr.1, XattrFlags::empty());
            tolerate(set, xattr, options)?;
        }
        return Ok(());
    }
    // Other files cannot be opened without consequences.
    let mut place = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    place.extend_from_slice(name.to_bytes());
    for xattr in xattrs {
        let set = rustix::fs::lsetxattr(&*place, &*xattr.0, &xattr.1, XattrFlags::empty());
        tolerate(set, xattr, options)?;
    }
    Ok(())
}

/// That a file system has no such attributes, or that the caller may not set them, is worth a line
/// and no failure.
fn tolerate(
    set: Result<(), Errno>,
    (name, _): &Xattr,
    options: &DirectoryOptions,
) -> Result<(), Errno> {
    match set {
        Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {
            if let Some(warn) = &options.warn {
                warn(&format!(
                    "the extended attribute {} cannot be set here",
                    String::from_utf8_lossy(name)
                ));
            }
            Ok(())
        }
        other => other,
    }
}

/// Root of a user namespace has only so many owners to give files to.
fn given(changed: Result<(), Errno>, options: &DirectoryOptions) -> Result<(), Errno> {
    match changed {
        Err(Errno::PERM | Errno::INVAL) => {
            if let Some(warn) = &options.warn {
                warn("some files cannot be given to their owners here");
            }
            Ok(())
        }
        other => other,
    }
}

fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    let known = |id: u32| (id != u32::MAX).then_some(id);
    (
        known(metadata.uid).map(Uid::from_raw),
        known(metadata.gid).map(Gid::from_raw),
    )
}

fn mode(metadata: &Metadata) -> Mode {
    Mode::from_raw_mode(metadata.permissions & 0o7777)
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
