//! File content: data blocks, holes, and tails in fragment blocks.
//!
//! An inode holds the position of the file's first block and the size on disk of each; a block's
//! position is the sum of the sizes before it. So that reading late in a large file does not add
//! up the list from its start each time, sums are remembered every [`STRIDE`] blocks.
//! Decoded blocks are cached whole and handed out by reference.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use skiff_cache::memory::{MemoryCache, MemoryStats, Weigh};

use crate::decompress::{self, Codec};
use crate::format::bytes::index;
use crate::source::{Counted, Source};
use crate::tree::{NodeRef, PackedBlock, PackedContent, Segment, TreeError};

use super::inode::{File, Tail};
use super::metadata::{Cursor, Metadata, Place, Table, damaged};

/// Blocks between two remembered sums. Adding up the list in between costs about as much as one
/// look into the cache.
const STRIDE: u64 = 256;

/// Memory for remembered sums: 20,000 of them, which is 640 GiB of files in 128 KiB blocks.
const SUMS_BYTES: usize = 4 << 20;

/// Set in a size word when the block is stored as it is.
const STORED: u32 = 1 << 24;

/// A block on disk and what it must give.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    position: u64,
    word: u32,
    /// Length to decode to: exactly this for data, at most this for fragments.
    len: u32,
}

/// A decoded block: the first `len` of `bytes`.
#[derive(Clone, Debug)]
struct Block {
    bytes: Arc<[u8]>,
    len: usize,
}

impl Weigh for Block {
    fn weight(&self) -> usize {
        self.bytes.len()
    }
}

/// Where block `STRIDE * n` of a file begins on disk and in the list of sizes.
#[derive(Clone, Copy, Debug)]
struct Sum {
    position: u64,
    place: Place,
}

impl Weigh for Sum {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

/// Decodes blocks of one file system.
#[derive(Debug)]
pub(super) struct Data {
    source: Arc<Counted>,
    codec: Codec,
    block_size: u32,
    /// Length of the file system.
    end: u64,
    blocks: MemoryCache<Key, Block>,
    sums: MemoryCache<(NodeRef, u64), Sum>,
}

thread_local! {
    /// Where compressed blocks are read to; grows to the largest block seen, at most 1 MiB.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A fragment block, as its table describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    pub(super) position: u64,
    pub(super) word: u32,
}

/// Answers where a fragment lies.
pub(super) type FindFragment<'a> = &'a dyn Fn(u32) -> Result<Fragment, TreeError>;

/// A file and what leads to its content.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) node: NodeRef,
    pub(super) file: &'a File,
    pub(super) metadata: &'a Metadata,
    pub(super) inodes: Table,
    pub(super) fragment: FindFragment<'a>,
}

impl Data {
    pub(super) fn new(
        source: Arc<Counted>,
        codec: Codec,
        block_size: u32,
        end: u64,
        cache_bytes: usize,
    ) -> Self {
        Self {
            source,
            codec,
            block_size,
            end,
            blocks: MemoryCache::new(cache_bytes),
            sums: MemoryCache::new(SUMS_BYTES),
        }
    }

    pub(super) fn stats(&self) -> MemoryStats {
        self.blocks.stats()
    }

    /// Calls `emit` with the pieces of `[offset, offset + len)` in order.
    pub(super) fn read(
        &self,
        content: Content<'_>,
        offset: u64,
        len: u64,
        emit: &mut dyn FnMut(Segment),
    ) -> Result<(), TreeError> {
        let file = content.file;
        let end = offset.saturating_add(len).min(file.size);
        if offset >= end {
            return Ok(());
        }
        let block_size = u64::from(self.block_size);
        let whole = self.whole_blocks(file);
        let mut list = None;
        let mut at = offset;
        while at < end {
            let number = at.checked_div(block_size).unwrap_or(0);
            let start = number.saturating_mul(block_size);
            let block_end = start.saturating_add(block_size).min(file.size);
            let wanted = at.saturating_sub(start)..end.min(block_end).saturating_sub(start);
            // At most one block, 1 MiB.
            let wanted = index(wanted.start)..index(wanted.end);
            let expected = u32::try_from(block_end.saturating_sub(start)).unwrap_or(u32::MAX);
            let segment = match file.tail {
                Some(tail) if number >= whole => self.tail(content, tail, wanted, expected)?,
                _ => {
                    let list = match &mut list {
                        Some(list) => list,
                        empty => empty.insert(self.list(content, number)?),
                    };
                    self.data(list, wanted, expected)?
                }
            };
            emit(segment);
            at = block_end;
        }
        Ok(())
    }

    /// Calls `emit` with the places on disk that hold `[offset, offset + len)`, neighbours as one.
    pub(super) fn places(
        &self,
        content: Content<'_>,
        offset: u64,
        len: u64,
        emit: &mut dyn FnMut(Range<u64>),
    ) -> Result<(), TreeError> {
        let file = content.file;
        let end = offset.saturating_add(len).min(file.size);
        let block_size = u64::from(self.block_size);
        let blocks = |at: u64| at.checked_div(block_size).unwrap_or(0);
        if offset >= end {
            return Ok(());
        }
        let whole = self.whole_blocks(file);
        let (first, last) = (blocks(offset), blocks(end.saturating_sub(1)));
        if first < whole {
            let mut list = self.list(content, first)?;
            let start = list.position;
            while list.number <= last && list.number < whole {
                list.next(self)?;
            }
            // What a damaged list adds up to is cut off here and reported by the reader.
            emit(start..list.position.min(self.end));
        }
        if let Some(tail) = file.tail.filter(|_| last >= whole) {
            let Fragment { position, word } = (content.fragment)(tail.fragment)?;
            emit(
                position
                    ..position
                        .saturating_add(u64::from(word & !STORED))
                        .min(self.end),
            );
        }
        Ok(())
    }

    /// Number of blocks in the list of sizes.
    /// The blocks of a file that has nothing else.
    pub(super) fn packed(&self, content: Content<'_>) -> Result<Option<PackedContent>, TreeError> {
        let file = content.file;
        if file.tail.is_some() || file.size == 0 {
            return Ok(None);
        }
        let mut list = self.list(content, 0)?;
        let mut blocks = Vec::new();
        for _ in 0..self.whole_blocks(file) {
            let (position, word) = list.next(self)?;
            let len = word & !STORED;
            if len > self.block_size || list.position > self.end {
                return Err(damaged("size of a data block", position));
            }
            blocks.push(match word {
                0 => PackedBlock::Hole,
                word if word & STORED != 0 => PackedBlock::Stored(len),
                _ => PackedBlock::Packed(len),
            });
        }
        Ok(Some(PackedContent {
            source: Arc::clone(&self.source) as Arc<dyn Source>,
            codec: self.codec,
            block_size: self.block_size,
            size: file.size,
            start: file.start,
            blocks,
            shared: true,
        }))
    }

    pub(super) fn whole_blocks(&self, file: &File) -> u64 {
        let block_size = u64::from(self.block_size);
        if file.tail.is_some() {
            file.size.checked_div(block_size).unwrap_or(0)
        } else {
            file.size.div_ceil(block_size)
        }
    }

    /// The next block of `list`.
    fn data(
        &self,
        list: &mut List<'_>,
        wanted: Range<usize>,
        expected: u32,
    ) -> Result<Segment, TreeError> {
        let (position, word) = list.next(self)?;
        if word == 0 {
            return Ok(Segment::Zeros(wanted.len()));
        }
        let block = self.block(Key {
            position,
            word,
            len: expected,
        })?;
        if block.len != index(u64::from(expected)) {
            return Err(damaged("data block of the wrong length", position));
        }
        Ok(Segment::Bytes(block.bytes, wanted))
    }

    fn tail(
        &self,
        content: Content<'_>,
        tail: Tail,
        wanted: Range<usize>,
        expected: u32,
    ) -> Result<Segment, TreeError> {
        let Fragment { position, word } = (content.fragment)(tail.fragment)?;
        let block = self.block(Key {
            position,
            word,
            len: self.block_size,
        })?;
        let offset = index(u64::from(tail.offset));
        let inside = offset.checked_add(index(u64::from(expected)));
        if inside.is_none_or(|end| end > block.len) {
            return Err(damaged("tail of a file outside its fragment", position));
        }
        let range = offset.saturating_add(wanted.start)..offset.saturating_add(wanted.end);
        Ok(Segment::Bytes(block.bytes, range))
    }

    /// The block under `key`, from the cache or decoded by this thread or another.
    fn block(&self, key: Key) -> Result<Block, TreeError> {
        self.blocks.get_or_try_insert_with(key, || self.decode(key))
    }

    fn decode(&self, key: Key) -> Result<Block, TreeError> {
        let on_disk = key.word & !STORED;
        let broken = |what: &str| damaged(what, key.position);
        if on_disk == 0 || on_disk > self.block_size {
            return Err(broken("size of a data block"));
        }
        let on_disk = u64::from(on_disk);
        if key
            .position
            .checked_add(on_disk)
            .is_none_or(|end| end > self.end)
        {
            return Err(broken("data block behind the end"));
        }
        let room = index(u64::from(key.len));
        let on_disk = index(on_disk);
        if key.word & STORED != 0 {
            let len = on_disk.min(room);
            let mut bytes = zeroed(len);
            let buffer = Arc::get_mut(&mut bytes).unwrap_or_default();
            self.source.read_exact_at(buffer, key.position)?;
            return Ok(Block { bytes, len });
        }
        PACKED.with_borrow_mut(|packed| {
            if packed.len() < on_disk {
                packed.resize(on_disk, 0);
            }
            let packed = packed.get_mut(..on_disk).unwrap_or_default();
            self.source.read_exact_at(packed, key.position)?;
            let mut bytes = zeroed(room);
            let buffer = Arc::get_mut(&mut bytes).unwrap_or_default();
            let len = decompress::decode(self.codec, packed, buffer)
                .map_err(|error| broken(&format!("data block: {error}")))?;
            // The last fragment block is often short; it should not weigh like a full one.
            if len < room.div_ceil(2) {
                bytes = bytes.get(..len).unwrap_or_default().into();
            }
            Ok(Block { bytes, len })
        })
    }

    /// The list of block sizes from block `number` on.
    fn list<'a>(&self, content: Content<'a>, number: u64) -> Result<List<'a>, TreeError> {
        let mut known = 0;
        let mut sum = Sum {
            position: content.file.start,
            place: content.file.blocks,
        };
        // Sums are remembered from the start of a file up to where it was read, so what is known
        // can be found by halving; holes left by eviction only make the way longer.
        // The place asked for is tried first: it is known to all but the first reader.
        let mut unknown = number.checked_div(STRIDE).unwrap_or(0).saturating_add(1);
        let mut middle = unknown.saturating_sub(1);
        while middle > known {
            match self.sums.get((content.node, middle)) {
                Some(found) => (known, sum) = (middle, found),
                None => unknown = middle,
            }
            middle = known.midpoint(unknown);
        }
        let mut list = List {
            node: content.node,
            cursor: content.metadata.cursor(content.inodes, sum.place)?,
            position: sum.position,
            number: known.saturating_mul(STRIDE),
        };
        while list.number < number {
            list.next(self)?;
        }
        Ok(list)
    }
}

/// Goes through a file's list of block sizes and adds them up.
struct List<'a> {
    node: NodeRef,
    cursor: Cursor<'a>,
    /// Position on disk of the next block.
    position: u64,
    /// Its number.
    number: u64,
}

impl List<'_> {
    /// Position and size word of the next block.
    fn next(&mut self, data: &Data) -> Result<(u64, u32), TreeError> {
        if self.number.is_multiple_of(STRIDE) && self.number > 0 {
            let stride = self.number.checked_div(STRIDE).unwrap_or(0);
            data.sums.insert(
                (self.node, stride),
                Sum {
                    position: self.position,
                    place: self.cursor.place(),
                },
            );
        }
        let word = self.cursor.u32()?;
        let position = self.position;
        self.position = position.saturating_add(u64::from(word & !STORED));
        self.number = self.number.saturating_add(1);
        Ok((position, word))
    }
}

/// A shared buffer of zeros with one owner. (Decoders want initialised memory; clearing costs a
/// few per cent of decoding, and copying out of a growing buffer would cost more.)
fn zeroed(len: usize) -> Arc<[u8]> {
    std::iter::repeat_n(0, len).collect()
}
