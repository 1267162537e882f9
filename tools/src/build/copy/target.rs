//! Making files in a root, which no link leads out of.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The root that is copied into. Paths are relative to it.
pub(super) struct Target<'a> {
    root: BorrowedFd<'a>,
}

/// What looking up again helps against: a rename during the walk.
const TRIES: usize = 100;

impl<'a> Target<'a> {
    pub(super) const fn new(root: BorrowedFd<'a>) -> Self {
        Self { root }
    }

    /// Opens `path`, whose links are all taken to be about this root.
    pub(super) fn open(&self, path: &Path, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        for _ in 0..TRIES {
            match rustix::fs::openat2(self.root, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY, 0).is_ok()
    }

    /// Makes `path` and what leads to it, where it is missing.
    pub(super) fn make_directories(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags, 0) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = self.make_directories(parent)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.open(path, flags, 0)?)
    }

    /// The directory in which `path` has its name.
    pub(super) fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = self.open(parent, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        Ok((parent, name))
    }

    /// Makes one directory; whether it was not there before.
    pub(super) fn make_directory(&self, path: &Path, mode: u32) -> io::Result<bool> {
        if self.is_directory(path) {
            return Ok(false);
        }
        let (parent, name) = self.parent(path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode))?;
        Ok(true)
    }

    /// A regular file to write to: the one that is there, emptied, or a new one.
    pub(super) fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOCTTY;
        let flags = flags | OFlags::NONBLOCK;
        let opened = self.open(path, flags, mode & 0o777);
        if let Ok(file) = &opened
            && is_regular(file)
        {
            return Ok(File::from(file.try_clone()?));
        }
        // What cannot be written to is replaced.
        self.replace(path, mode & 0o777)
    }

    /// A new regular file in the place of what is there.
    pub(super) fn replace(&self, path: &Path, mode: u32) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        remove(parent.as_fd(), name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode))?;
        Ok(File::from(file))
    }

    pub(super) fn make_fifo(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        remove(parent.as_fd(), name)?;
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::mknodat(&parent, name, FileType::Fifo, mode, 0)?)
    }

    pub(super) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let file = self.open(path, OFlags::PATH, 0)?;
        // A descriptor without a right to the file has a name all the same.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmodat(CWD, name, mode, AtFlags::empty())?)
    }
}

fn is_regular(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile)
}

/// Removes the name, which may not be there, of anything but a directory.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
