//! The host's files as GPU planning sees them: below `/`, in tests below a made-up driver
//! installation.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where the host's files are.
#[derive(Clone, Copy, Debug)]
pub struct HostRoot<'a> {
    root: &'a Path,
}

impl<'a> HostRoot<'a> {
    /// The host below `root`.
    pub const fn new(root: &'a Path) -> Self {
        Self { root }
    }

    /// Where the host's `path` really is.
    pub fn at(&self, path: &Path) -> PathBuf {
        if self.root == Path::new("/") {
            return path.to_owned();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens a regular file; anything else, a pipe say, is refused without waiting for it.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(self.at(path))?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(file)
    }

    /// Content of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// As `read(2)`; `InvalidData` for a larger one.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("larger than {limit} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// Whether something is there.
    pub fn exists(&self, path: &Path) -> bool {
        self.at(path).exists()
    }

    /// Names in a directory, sorted; none where it cannot be read.
    pub fn names(&self, directory: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> = std::fs::read_dir(self.at(directory))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        names
    }
}
