//! A published list: its top is read at once, its pages as chunks of them arrive.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use skiff_cache::disk::Fetch;

use super::super::digest::Digest;
use super::CHUNK;
use super::format::{DIGEST, FormatError, Layout, parse_top};

/// The digests of a blob's chunks.
pub struct ChunkDigests {
    source: Arc<dyn Fetch>,
    layout: Layout,
    size: u64,
    page_digests: Vec<[u8; DIGEST]>,
    pages: Vec<OnceLock<Box<[u8]>>>,
}

impl ChunkDigests {
    /// Reads the top of a list of `len` bytes from `now`, and its pages from `later`, for a blob of
    /// `size` bytes that has this digest; `top` is what its manifest promises.
    ///
    /// # Errors
    /// A list that cannot be read, is damaged, or is for another blob.
    pub fn open(
        now: &dyn Fetch,
        later: Arc<dyn Fetch>,
        len: u64,
        top: &Digest,
        size: u64,
        digest: &Digest,
    ) -> io::Result<Self> {
        let invalid = |error: FormatError| io::Error::new(io::ErrorKind::InvalidData, error);
        let layout = Layout::new(size).map_err(invalid)?;
        if len != layout.len() {
            return Err(invalid(FormatError::OtherBlob));
        }
        let bytes = read(now, 0..layout.top_len())?;
        let page_digests = parse_top(&bytes, top, size, digest).map_err(invalid)?;
        let pages = page_digests.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            source: later,
            layout,
            size,
            page_digests,
            pages,
        })
    }

    /// Size of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether these are the bytes of a chunk: all of them, from its first to its last.
    ///
    /// # Errors
    /// A page of the list that cannot be read or is damaged.
    pub fn fits(&self, chunk: u64, bytes: &[u8]) -> io::Result<bool> {
        let Some((page, place)) = self.layout.place(chunk) else {
            return Ok(false);
        };
        let expected = CHUNK.min(self.size - chunk * CHUNK);
        let page = self.page(page)?;
        let digest = page.get(place * DIGEST..(place + 1) * DIGEST);
        Ok(bytes.len() as u64 == expected && digest == Some(Sha256::digest(bytes).as_slice()))
    }

    /// Reads the pages of some chunks, so that [`ChunkDigests::fits`] need not.
    ///
    /// # Errors
    /// A page of the list that cannot be read or is damaged.
    pub fn prepare(&self, chunks: Range<u64>) -> io::Result<()> {
        let Some(last) = chunks
            .end
            .checked_sub(1)
            .filter(|last| chunks.contains(last))
        else {
            return Ok(());
        };
        if let (Some((first, _)), Some((last, _))) =
            (self.layout.place(chunks.start), self.layout.place(last))
        {
            for page in first..=last {
                self.page(page)?;
            }
        }
        Ok(())
    }

    fn page(&self, index: usize) -> io::Result<&[u8]> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, FormatError::Mismatch);
        let cell = self.pages.get(index).ok_or_else(damaged)?;
        if let Some(page) = cell.get() {
            return Ok(page);
        }
        // Two threads may both read it; they read the same.
        let page = read(&*self.source, self.layout.page(index))?;
        let digest = self.page_digests.get(index).map(<[u8; DIGEST]>::as_slice);
        if digest != Some(Sha256::digest(&page).as_slice()) {
            return Err(damaged());
        }
        Ok(cell.get_or_init(|| page.into_boxed_slice()))
    }
}

impl fmt::Debug for ChunkDigests {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChunkDigests")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(source: &dyn Fetch, range: Range<u64>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    source.fetch(range, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
