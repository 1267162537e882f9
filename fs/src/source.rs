//! Where the bytes of an image come from.

mod cached;
mod counted;
mod file;
mod memory;
pub mod origin;
pub mod placement;
#[cfg(test)]
mod tests;
mod window;

pub use cached::{CachedFigures, CachedSource};
pub use counted::Counted;
pub use file::FileSource;
pub use memory::MemorySource;
pub use window::Window;

use std::io;
use std::ops::Range;

/// Immutable bytes of known size with random access; shared by all reading threads.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Length of the whole in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from byte `offset` on and returns how many bytes were there; less than
    /// `buf.len()` only at the end of the source.
    ///
    /// # Errors
    /// What the medium reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`Source::read_at`]; a source that is far away then fetches all of `window`, which is
    /// likely to be asked for next.
    ///
    /// # Errors
    /// What the medium reports.
    fn read_within(&self, buf: &mut [u8], offset: u64, _window: Range<u64>) -> io::Result<usize> {
        self.read_at(buf, offset)
    }

    /// Says that `range` will be read soon. A source that is far away sees to it that the bytes are
    /// nearer then; returns at once.
    fn will_need(&self, _range: Range<u64>) {}

    /// Whether a read may have to wait for a network.
    fn is_remote(&self) -> bool {
        false
    }

    /// Fills all of `buf`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the source ends first, else what the medium reports.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buf, offset)? == buf.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}
