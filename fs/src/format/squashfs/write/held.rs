//! Files whose content waits until all others are written, because it is to lie together, in an
//! order of its own.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::pack::{AccessProfile, SinkError};

/// zstd's fastest: what waits takes about the room that it takes in the image.
const LEVEL: i32 = 1;

/// What waits, in a file without a name.
#[derive(Debug)]
pub(super) struct Held {
    profile: Arc<AccessProfile>,
    /// Whose content comes next, by its place in the profile.
    next: Option<u32>,
    file: File,
    files: Vec<HeldFile>,
}

/// A file that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct HeldFile {
    /// Place in the profile, and then in the order of coming.
    rank: u32,
    /// Number of the content.
    pub(super) data: usize,
    /// Bytes.
    pub(super) size: u64,
    /// Where it lies in the file.
    at: u64,
}

impl Held {
    /// Nothing yet; what is kept is kept in `file`, which is empty.
    pub(super) fn new(profile: Arc<AccessProfile>, file: File) -> Self {
        Self {
            profile,
            next: None,
            file,
            files: Vec::new(),
        }
    }

    /// Notes whose content comes next.
    pub(super) fn next_file(&mut self, path: &[u8]) {
        self.next = self.profile.rank(path);
    }

    /// The rank of the content that comes now, if it is to wait.
    pub(super) fn take_rank(&mut self, size: u64) -> Option<u32> {
        self.next.take().filter(|_| size > 0)
    }

    /// Keeps `size` bytes of `content` as that with number `data`.
    pub(super) fn keep(
        &mut self,
        rank: u32,
        data: usize,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), SinkError> {
        let room = |source| SinkError::Write {
            what: "a temporary file".to_owned(),
            source,
        };
        let at = self.file.stream_position().map_err(room)?;
        let mut encoder = zstd::Encoder::new(&mut self.file, LEVEL).map_err(room)?;
        let mut buffer = vec![0; 64 << 10];
        let mut left = size;
        while left > 0 {
            let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let buffer = &mut buffer[..len];
            content.read_exact(buffer).map_err(SinkError::Content)?;
            encoder.write_all(buffer).map_err(room)?;
            left -= len as u64;
        }
        encoder.finish().map_err(room)?;
        self.files.push(HeldFile {
            rank,
            data,
            size,
            at,
        });
        Ok(())
    }

    /// What was kept, in order.
    pub(super) fn take_files(&mut self) -> Vec<HeldFile> {
        let mut files = std::mem::take(&mut self.files);
        files.sort_unstable();
        files
    }

    /// The content of a file that was kept.
    pub(super) fn content(&mut self, file: HeldFile) -> Result<impl Read + use<>, SinkError> {
        let open = || {
            // The same place in the file, which nobody else moves any more.
            let mut kept = self.file.try_clone()?;
            kept.seek(SeekFrom::Start(file.at))?;
            io::Result::Ok(zstd::Decoder::with_buffer(BufReader::new(kept))?.single_frame())
        };
        open().map_err(|source| SinkError::Write {
            what: "a temporary file".to_owned(),
            source,
        })
    }
}
