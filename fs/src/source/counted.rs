//! A source that counts which of its bytes were of use.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Source;

/// `inner`, with a count of the bytes that were read for what they hold. Metadata is read without
/// knowing how long a block is: whoever finds out [counts](Counted::count) the block alone.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Source>,
    bytes_read: AtomicU64,
}

impl Counted {
    /// Starts counting at 0.
    pub fn new(inner: Arc<dyn Source>) -> Self {
        Self {
            inner,
            bytes_read: AtomicU64::new(0),
        }
    }

    /// Bytes counted so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Counts `bytes` of what a [`Counted::peek`] brought.
    pub fn count(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Reads without counting; see [`Source::read_within`].
    ///
    /// # Errors
    /// What the source reports.
    pub fn peek(&self, buf: &mut [u8], offset: u64, window: Range<u64>) -> io::Result<usize> {
        self.inner.read_within(buf, offset, window)
    }
}

impl Source for Counted {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.inner.read_at(buf, offset)?;
        self.count(count as u64);
        Ok(count)
    }

    fn will_need(&self, range: Range<u64>) {
        self.inner.will_need(range);
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }
}
