//! A source that counts what is read from it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Source;

/// `inner`, with a count of the bytes it gave.
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

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}

impl Source for Counted {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.inner.read_at(buf, offset)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
