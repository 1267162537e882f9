//! A part of another source, seen as a source of its own: the partition of a SIF.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Source;

/// The bytes `[offset, offset + len)` of `inner`.
#[derive(Clone, Debug)]
pub struct Window {
    inner: Arc<dyn Source>,
    offset: u64,
    len: u64,
}

impl Window {
    /// A window that lies wholly within `inner`; `None` when it does not.
    pub fn new(inner: Arc<dyn Source>, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        (end <= inner.size()).then_some(Self { inner, offset, len })
    }
}

impl Source for Window {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        match buf.get_mut(..wanted) {
            // The sum stays within `inner`: offset < len here, or wanted is 0.
            Some(part) if wanted > 0 => {
                self.inner.read_at(part, self.offset.saturating_add(offset))
            }
            _ => Ok(0),
        }
    }

    fn read_within(&self, buf: &mut [u8], offset: u64, window: Range<u64>) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let moved = |at: u64| self.offset.saturating_add(at.min(self.len));
        match buf.get_mut(..wanted) {
            Some(part) if wanted > 0 => {
                let window = moved(window.start)..moved(window.end);
                self.inner.read_within(part, moved(offset), window)
            }
            _ => Ok(0),
        }
    }

    fn will_need(&self, range: Range<u64>) {
        let end = range.end.min(self.len);
        if range.start < end {
            let moved = |at: u64| self.offset.saturating_add(at);
            self.inner.will_need(moved(range.start)..moved(end));
        }
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }
}
