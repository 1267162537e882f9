//! Copying from the root of another stage: owners, permissions, times, attributes and links stay.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::target::{Target, remove};
use super::{DEEPEST, cannot, clean, expand, glob, said};

/// Attributes that are the overlay's own business.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Copies what `pattern` matches in the root behind `source` to `target` in the one behind `root`.
///
/// # Errors
/// The first file that cannot be copied.
pub(in crate::build) fn from_stage(
    pattern: &str,
    target: &str,
    source: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
) -> Result<(), String> {
    let origin = Target::new(source);
    let target_root = Target::new(root);
    for pattern in expand::words(pattern, None) {
        let content = pattern.ends_with('/');
        for found in glob::expand(Some(source), &clean(Path::new(&pattern))) {
            let own = format!("/{}{}", found.display(), if content { "/" } else { "" });
            let target = if target.is_empty() { &own } else { target };
            copy_one(&origin, &found, content, target, &target_root).map_err(|reason| {
                format!("while copying [/{}] to {target}: {reason}", found.display())
            })?;
        }
    }
    Ok(())
}

/// Copies all that is in the directory behind `source` into the one behind `root`; everything
/// belongs to root then.
///
/// # Errors
/// The first file that cannot be copied.
pub(in crate::build) fn everything(
    source: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
) -> Result<(), String> {
    let mut copier = Copier {
        links: HashMap::new(),
        owners: false,
    };
    copier
        .directory(source, root, Path::new(""), 0)
        .map_err(|(path, error)| cannot("copy", &path, &error))
}

/// `content`: a directory's content rather than the directory, where the target is one.
fn copy_one(
    origin: &Target<'_>,
    source: &Path,
    content: bool,
    target: &str,
    root: &Target<'_>,
) -> Result<(), String> {
    let failed = |error: Errno| cannot("stat", &Path::new("/").join(source), &error.into());
    let file = origin.open(source, OFlags::PATH, 0).map_err(failed)?;
    let status = rustix::fs::fstat(&file).map_err(failed)?;
    let mut path = clean(Path::new(target));
    let into = target.ends_with('/');
    let parent = match path.parent() {
        Some(parent) if !into => parent.to_owned(),
        _ => path.clone(),
    };
    root.make_directories(&parent)
        .map_err(|error| cannot("create directory", &parent, &error))?;
    if (into && !content) || (!into && root.is_directory(&path)) {
        path.push(source.file_name().unwrap_or_default());
    }
    let (directory, name) = root
        .parent(&path)
        .map_err(|error| cannot("access", &path, &error))?;
    let mut copier = Copier {
        links: HashMap::new(),
        owners: true,
    };
    copier
        .node(file.as_fd(), &status, directory.as_fd(), name, &path, 0)
        .map_err(|(path, error)| cannot("copy", &path, &error))
}

type Failed = (PathBuf, io::Error);

/// Remembers files that have several names.
struct Copier {
    links: HashMap<(u64, u64), (OwnedFd, OsString)>,
    /// Owners stay.
    owners: bool,
}

impl Copier {
    /// Copies the file behind `from`, which may be a place only, to `name` in `directory`; `path` is
    /// where that is, for messages.
    fn node(
        &mut self,
        from: BorrowedFd<'_>,
        status: &Stat,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), Failed> {
        let failed = |error: io::Error| (path.to_owned(), error);
        let errno = |error: Errno| (path.to_owned(), error.into());
        let kind = FileType::from_raw_mode(status.st_mode);
        let mode = status.st_mode & 0o7777;
        if kind != FileType::Directory && status.st_nlink > 1 {
            let key = (status.st_dev, status.st_ino);
            if let Some((known, known_name)) = self.links.get(&key) {
                remove(directory, name).map_err(failed)?;
                let none = AtFlags::empty();
                return rustix::fs::linkat(known, known_name, directory, name, none).map_err(errno);
            }
            let known = directory.try_clone_to_owned().map_err(failed)?;
            self.links.insert(key, (known, name.to_owned()));
        }
        match kind {
            FileType::Directory => {
                if depth > DEEPEST {
                    return Err(failed(io::Error::other("it lies too deep")));
                }
                let mode = if depth == 0 { 0o755 } else { 0o700 };
                match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(mode)) {
                    Ok(()) => {}
                    Err(Errno::EXIST) if is_directory(directory, name) => {}
                    Err(Errno::EXIST) => return Err(errno(Errno::NOTDIR)),
                    Err(error) => return Err(errno(error)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made =
                    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(errno)?;
                self.directory(from, made.as_fd(), path, depth)?;
            }
            FileType::RegularFile => {
                remove(directory, name).map_err(failed)?;
                let mut content = File::open(place(from)).map_err(failed)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let made = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))
                    .map_err(errno)?;
                io::copy(&mut content, &mut File::from(made)).map_err(failed)?;
            }
            FileType::Symlink => {
                remove(directory, name).map_err(failed)?;
                let link = rustix::fs::readlinkat(from, "", Vec::new()).map_err(errno)?;
                rustix::fs::symlinkat(&*link, directory, name).map_err(errno)?;
            }
            other => {
                remove(directory, name).map_err(failed)?;
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::mknodat(directory, name, other, mode, status.st_rdev).map_err(errno)?;
            }
        }
        // As by Apptainer, a directory that is copied by its name is a new one that gets the
        // content.
        if depth == 0 && kind == FileType::Directory {
            return Ok(());
        }
        attributes(from, status, directory, name, self.owners).map_err(failed)
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        made: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), Failed> {
        let failed = |error: Errno| (path.to_owned(), error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let list = rustix::fs::openat(CWD, place(from), flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&list).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        for name in names {
            let below = path.join(&name);
            let failed = |error: Errno| (below.clone(), error.into());
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&list, &name, flags, Mode::empty()).map_err(failed)?;
            let status = rustix::fs::fstat(&file).map_err(failed)?;
            self.node(file.as_fd(), &status, made, &name, &below, depth + 1)?;
        }
        Ok(())
    }
}

fn is_directory(directory: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

/// A name of the open file.
fn place(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives `name` what the file behind `from` has beside its content.
fn attributes(
    from: BorrowedFd<'_>,
    status: &Stat,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    owners: bool,
) -> io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let owner = owners.then(|| Uid::from_raw(status.st_uid));
    let group = owners.then(|| Gid::from_raw(status.st_gid));
    match rustix::fs::chownat(directory, name, owner, group, nofollow) {
        // Owners that this build does not have.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(status.st_mode);
    if kind != FileType::Symlink {
        copy_xattrs(&place(from), &place(made.as_fd()))?;
        // After the owner, whose change takes set-id bits away.
        let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
        rustix::fs::chmodat(CWD, place(made.as_fd()), mode, AtFlags::empty())?;
    }
    let time = Timespec {
        tv_sec: status.st_mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(directory, name, &times, nofollow)?)
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let list = |buffer: &mut [u8]| rustix::fs::listxattr(from, buffer);
    let names = match sized(list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        if OVERLAY.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let text = CString::new(name).map_err(|error| io::Error::other(error.to_string()))?;
        let Ok(value) = sized(|buffer| rustix::fs::getxattr(from, &text, buffer)) else {
            continue;
        };
        match rustix::fs::setxattr(to, &text, &value, XattrFlags::empty()) {
            // What the machine does not let this user set.
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(error) => {
                let name = OsStr::from_bytes(name).display();
                return Err(io::Error::other(format!(
                    "attribute {name}: {}",
                    said(&error.into())
                )));
            }
        }
    }
    Ok(())
}

/// Calls `read` with a buffer that is large enough.
fn sized(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    loop {
        let size = read(&mut [])?;
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
}
