//! Directories and files of the host below one directory, reached without following a link.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, Result};

use crate::pack::Xattr;

/// As many as the kernel gives out for one file.
const XATTR_NAMES_MOST: usize = 64 << 10;
const XATTR_MOST: usize = 64 << 10;

/// Opens `path` below `root`; the empty path is `root` itself.
pub(crate) fn open(
    root: impl AsFd,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve =
        resolve | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(
            &root,
            path,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            mode,
            resolve,
        ) {
            // What "beneath" means was in doubt for a moment, as something was moved meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens a directory to be listed.
pub(crate) fn open_directory(root: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    open(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
        ResolveFlags::empty(),
    )
}

/// Names in a directory, sorted, without `.` and `..`.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Extended attributes of an open file, sorted; none where there can be none.
pub(crate) fn xattrs(file: impl AsFd) -> Result<Vec<Xattr>> {
    collect(
        |buffer| rustix::fs::flistxattr(&file, buffer),
        |name, buffer| rustix::fs::fgetxattr(&file, name, buffer),
    )
}

/// As [`xattrs`], for a file that cannot be opened: by its path, whose last part is not followed.
pub(crate) fn xattrs_at(path: &[u8]) -> Result<Vec<Xattr>> {
    collect(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

fn collect(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Vec<Xattr>> {
    // Nearly all files have none, or few.
    let mut names = vec![0; 1024];
    let length = match list(&mut names) {
        Err(Errno::RANGE) => {
            names.resize(XATTR_NAMES_MOST, 0);
            list(&mut names)
        }
        other => other,
    };
    let length = match length {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    names.truncate(length);
    let mut found: Vec<Xattr> = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; XATTR_MOST];
        match get(name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.into(), value.into()));
            }
            // Gone meanwhile, or not for us to see, such as those of security modules.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}
