//! What a cache fills itself from.

use std::io;
use std::ops::Range;

/// Gives ranges of a blob.
pub trait Fetch: Send + Sync {
    /// Calls `sink` with the bytes of `range`, in order, in pieces. May fail midway.
    ///
    /// # Errors
    /// What the network reports, or `sink`.
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()>;
}
