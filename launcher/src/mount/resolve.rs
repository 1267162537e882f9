//! Places inside the container's root: found, or made, without ever leaving it.
//!
//! The kernel resolves paths below the root's descriptor with `RESOLVE_IN_ROOT`, so that symbolic
//! links of a hostile image, absolute ones included, end inside it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::rootfs::BindPointKind;

/// Symbolic links followed on one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Opens what `path` leads to inside `root`, for use as a place only (`O_PATH`).
///
/// # Errors
/// As `openat2(2)`.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH)
}

/// Opens what `path` leads to inside `root` with other flags.
///
/// # Errors
/// As `openat2(2)`.
pub fn open_with(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    // EAGAIN says that something was renamed or mounted during the walk; nobody else works in our
    // mount namespace, but a shared directory may change.
    loop {
        match rustix::fs::openat2(
            root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// What tells two places apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Device number.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// Number of the mount.
    pub mount: u64,
    /// Something is mounted exactly here.
    pub mount_root: bool,
    /// It is a directory.
    pub directory: bool,
}

/// Describes an open place.
///
/// # Errors
/// As `statx(2)`.
pub fn place(descriptor: BorrowedFd<'_>) -> Result<Place, Errno> {
    let status = rustix::fs::statx(
        descriptor,
        c"",
        AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT,
        StatxFlags::INO | StatxFlags::TYPE | StatxFlags::MNT_ID,
    )?;
    let file_type = FileType::from_raw_mode(u32::from(status.stx_mode));
    Ok(Place {
        device: (status.stx_dev_major, status.stx_dev_minor),
        inode: status.stx_ino,
        mount: status.stx_mnt_id,
        mount_root: status
            .stx_attributes
            .contains(rustix::fs::StatxAttributes::MOUNT_ROOT),
        directory: file_type == FileType::Directory,
    })
}

/// A path that does not exist: the part that does, and the names that are missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Existing directories that lead there, without symbolic links, relative to the root.
    pub existing: PathBuf,
    /// Names to create, at least one.
    pub names: Vec<OsString>,
    /// A symbolic link or something else than a directory was on the way.
    pub detour: bool,
}

/// Walks `path` inside `root` like the kernel does; `None` when it exists. A component that is
/// neither a directory nor a link counts as missing, together with all that follow it.
///
/// # Errors
/// Anything but a missing component; [`Errno::LOOP`] after too many links.
pub fn find_missing(root: BorrowedFd<'_>, path: &Path) -> Result<Option<Missing>, Errno> {
    let mut pending: Vec<OsString> = components(path).rev().map(OsStr::to_owned).collect();
    let mut resolved: Vec<OsString> = Vec::new();
    let mut detour = false;
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let here: PathBuf = resolved.iter().chain([&name]).collect();
        let status = match open_no_follow(root, &here) {
            Ok(descriptor) => rustix::fs::fstat(&descriptor).map(|status| (status, descriptor)),
            Err(error) => Err(error),
        };
        let found = match status {
            Ok((status, descriptor)) => Some((FileType::from_raw_mode(status.st_mode), descriptor)),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(error) => return Err(error),
        };
        match found {
            Some((FileType::Symlink, descriptor)) => {
                links += 1;
                detour = true;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&descriptor, c"", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    resolved.clear();
                }
                pending.extend(components(&target).rev().map(OsStr::to_owned));
            }
            Some((FileType::Directory, _)) => resolved.push(name),
            Some(_) if pending.is_empty() => resolved.push(name),
            blocked => {
                pending.push(name);
                pending.reverse();
                return Ok(Some(Missing {
                    existing: resolved.iter().collect(),
                    names: lexical(pending),
                    detour: detour || blocked.is_some(),
                }));
            }
        }
    }
    Ok(None)
}

/// Components that matter for a walk; `..` as itself.
fn components(path: &Path) -> impl DoubleEndedIterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    })
}

/// Applies `..` to names that do not exist, where no link can change its meaning.
fn lexical(names: Vec<OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    for name in names {
        if name == ".." {
            out.pop();
        } else {
            out.push(name);
        }
    }
    out
}

fn open_no_follow(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Creates a missing place and the directories that lead to it, and opens it.
///
/// # Errors
/// Where the container is not writable there.
pub fn create(
    root: BorrowedFd<'_>,
    missing: &Missing,
    kind: BindPointKind,
) -> Result<OwnedFd, Errno> {
    let start = if missing.existing.as_os_str().is_empty() {
        Path::new(".")
    } else {
        missing.existing.as_path()
    };
    let mut here = open_in_root(root, start)?;
    let (last, leading) = missing.names.split_last().ok_or(Errno::INVAL)?;
    for name in leading {
        here = make_directory(here.as_fd(), name, 0o755)?;
    }
    match kind {
        BindPointKind::Directory => make_directory(here.as_fd(), last, 0o755),
        BindPointKind::File => make_file(here.as_fd(), last),
    }
}

/// A directory in `parent`, made when it is missing.
///
/// # Errors
/// As `mkdirat(2)`.
pub fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// An empty file in `parent`, made when it is missing.
///
/// # Errors
/// As `openat(2)`.
pub fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )
}

#[cfg(test)]
mod tests;
