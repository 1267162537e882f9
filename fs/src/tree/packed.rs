//! Content as it lies in an image, for images that are made of others.

use std::sync::Arc;

use crate::decompress::Codec;
use crate::source::Source;

/// A block of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PackedBlock {
    /// Zeros, of which nothing is stored.
    Hole,
    /// So many bytes, stored as they are.
    Stored(u32),
    /// So many bytes that decode to a block.
    Packed(u32),
}

/// The blocks of a file, one behind the other.
#[derive(Clone, Debug)]
pub struct PackedContent {
    /// What they are read from.
    pub source: Arc<dyn Source>,
    /// What decodes them.
    pub codec: Codec,
    /// What all but the last decode to, in bytes.
    pub block_size: u32,
    /// Length of the file.
    pub size: u64,
    /// Where in `source` the first starts.
    pub start: u64,
    /// All of them.
    pub blocks: Vec<PackedBlock>,
    /// Whether the file may have other names in the same image.
    pub shared: bool,
}

/// The same blocks of the same source.
impl PartialEq for PackedContent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.codec, self.block_size) == (other.codec, other.block_size)
            && (self.size, self.start) == (other.size, other.start)
            && self.blocks == other.blocks
    }
}

impl Eq for PackedContent {}
