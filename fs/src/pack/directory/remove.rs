//! Removing a directory and all below it: as deep as it may be, closed as it may be, following
//! nothing.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::beneath;

/// Removes `name`, whatever it is. That it is not there is no failure.
pub(super) fn remove(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let root = opened(parent, name.to_bytes())?;
    // Directories that were emptied of all else; those below others come later.
    let mut all = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = all.get(next).cloned() {
        next += 1;
        let directory = opened(&root, &path)?;
        for name in beneath::names(&directory)? {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(&directory, &name, flags)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let mut path = path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.to_bytes());
                all.push(path);
            } else {
                rustix::fs::unlinkat(&directory, &name, AtFlags::empty())?;
            }
        }
    }
    for path in all[1..].iter().rev() {
        rustix::fs::unlinkat(&root, path.as_slice(), AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Opens a directory, after opening it to its owner if it is closed.
pub(super) fn opened(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let handle = beneath::open(root, path, flags, Mode::empty(), ResolveFlags::empty())?;
    let stat = rustix::fs::fstat(&handle)?;
    if stat.st_mode & 0o700 != 0o700 {
        // A path through /proc reaches exactly this directory.
        use std::os::fd::AsRawFd;
        let place = format!("/proc/self/fd/{}", handle.as_raw_fd());
        rustix::fs::chmod(place, Mode::RWXU)?;
    }
    beneath::open_directory(root, path)
}
