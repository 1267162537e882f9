//! Where the bytes of an image come from.

mod counted;
mod file;
mod memory;
#[cfg(test)]
mod tests;
mod window;

pub use counted::Counted;
pub use file::FileSource;
pub use memory::MemorySource;
pub use window::Window;

use std::io;

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
