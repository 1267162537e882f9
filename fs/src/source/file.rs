//! A local file (or block device), read with pread(2) through one descriptor kept open.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use super::Source;

/// Bytes of an open file. Its size is taken once: a file that shrinks later gives short reads,
/// one that grows keeps its old end.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    /// Takes over `file`.
    ///
    /// # Errors
    /// When its size cannot be found out.
    pub fn new(mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        // A block device has no length of its own in stat(2).
        let size = if metadata.is_file() {
            metadata.len()
        } else if metadata.is_dir() {
            0
        } else {
            file.seek(SeekFrom::End(0))?
        };
        Ok(Self { file, size })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl AsFd for FileSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}
