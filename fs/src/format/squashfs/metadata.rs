//! Metadata blocks and the cursor that reads across them.
//!
//! Inodes, directories and all tables are byte streams cut into blocks of 8 KiB, each with a
//! 2-byte header (length on disk, and a bit for "stored as is"). A place in a stream is the
//! position of a block and an offset in what it decodes to. Blocks follow each other without gap,
//! so a cursor only ever moves towards the end of its table: it cannot go round in circles.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skiff_cache::memory::{MemoryCache, MemoryStats, Weigh};

use crate::decompress::{self, Codec};
use crate::format::bytes::index;
use crate::source::{Counted, Source};
use crate::tree::TreeError;

/// What a full metadata block decodes to, and the most one may take on disk.
pub(super) const BLOCK_LEN: usize = 8192;

const HEADER_LEN: usize = 2;
const STORED: u16 = 0x8000;

/// Raw tables of block positions are read in pieces of this size.
const PIECE_LEN: usize = 4096;

/// Tables up to this length (40,000 files) are fetched whole from far away: that takes as long as a
/// few round trips, and finding a program takes more of those.
const WHOLE_TABLES_MAX: u64 = 320 << 10;

/// Larger ones come in pieces: small ones for those who start a single program, growing for those
/// who look at much.
const FIRST_WINDOW: u64 = 16 << 10;
const LAST_WINDOW: u64 = 256 << 10;

/// Blocks decoded between two doublings of the piece.
const BLOCKS_PER_STEP: u64 = 16;

/// The error for a structure that cannot be.
pub(super) fn damaged(what: impl Into<String>, offset: u64) -> TreeError {
    TreeError::Damaged {
        what: what.into(),
        offset,
    }
}

/// The part of the file system that one metadata stream may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Table {
    /// For errors.
    pub(super) what: &'static str,
    /// First byte; positions in references count from here.
    pub(super) start: u64,
    /// Behind the last byte.
    pub(super) end: u64,
}

/// A place in a metadata stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Position of the block in the file system.
    pub(super) block: u64,
    /// Offset in the decoded block.
    pub(super) offset: usize,
}

/// A decoded block.
#[derive(Debug)]
struct Block {
    bytes: Box<[u8]>,
    /// Position of the block behind this one.
    next: u64,
}

#[derive(Clone, Debug)]
struct SharedBlock(Arc<Block>);

impl Weigh for SharedBlock {
    fn weight(&self) -> usize {
        self.0.bytes.len()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    /// The metadata block at this position.
    Block(u64),
    /// Bytes as they are on disk from this position on.
    Piece(u64),
}

/// All metadata of one file system, decoded once and kept in a bounded cache.
#[derive(Debug)]
pub(super) struct Metadata {
    source: Arc<Counted>,
    codec: Codec,
    /// All tables lie here, at the end of the file system.
    tables: Range<u64>,
    /// Blocks that were not in memory.
    decoded: AtomicU64,
    cache: MemoryCache<Key, SharedBlock>,
}

thread_local! {
    /// Where blocks are read to before they are decoded.
    static PACKED: RefCell<[u8; HEADER_LEN + BLOCK_LEN]> =
        const { RefCell::new([0; HEADER_LEN + BLOCK_LEN]) };
}

impl Metadata {
    pub(super) fn new(
        source: Arc<Counted>,
        codec: Codec,
        tables: Range<u64>,
        cache_bytes: usize,
    ) -> Self {
        Self {
            source,
            codec,
            tables,
            decoded: AtomicU64::new(0),
            cache: MemoryCache::new(cache_bytes),
        }
    }

    /// What to fetch along with `range` where the image is far away: one question instead of many.
    fn window(&self, range: Range<u64>) -> Range<u64> {
        let tables = &self.tables;
        if !tables.contains(&range.start) {
            return range;
        }
        if tables.end.saturating_sub(tables.start) <= WHOLE_TABLES_MAX {
            return tables.clone();
        }
        let steps = self.decoded.fetch_add(1, Ordering::Relaxed) / BLOCKS_PER_STEP;
        let len = FIRST_WINDOW
            .checked_shl(u32::try_from(steps).unwrap_or(u32::MAX))
            .filter(|len| (FIRST_WINDOW..LAST_WINDOW).contains(len))
            .unwrap_or(LAST_WINDOW);
        let inside = range.start.checked_rem(len).unwrap_or(0);
        let aligned = range.start.saturating_sub(inside);
        let end = aligned.saturating_add(len).min(tables.end);
        aligned.max(tables.start)..end.max(range.end)
    }

    pub(super) fn stats(&self) -> MemoryStats {
        self.cache.stats()
    }

    /// A cursor at `place` in `table`.
    pub(super) fn cursor(&self, table: Table, place: Place) -> Result<Cursor<'_>, TreeError> {
        let block = self.block(table, place.block)?;
        if place.offset > block.0.bytes.len() {
            return Err(damaged(table.what, place.block));
        }
        Ok(Cursor {
            metadata: self,
            table,
            block,
            place,
        })
    }

    fn block(&self, table: Table, position: u64) -> Result<SharedBlock, TreeError> {
        if position < table.start || position >= table.end {
            return Err(damaged(table.what, position));
        }
        self.cache.get_or_try_insert_with(Key::Block(position), || {
            self.read_block(table, position)
                .map(|block| SharedBlock(Arc::new(block)))
        })
    }

    fn read_block(&self, table: Table, position: u64) -> Result<Block, TreeError> {
        PACKED.with_borrow_mut(|packed| {
            // Header and body in one read; the body's length is not known before.
            let left = index(table.end.saturating_sub(position));
            let wanted = packed.len().min(left);
            let packed = packed.get_mut(..wanted).unwrap_or_default();
            let window = self.window(position..position.saturating_add(wanted as u64));
            let got = self.source.peek(packed, position, window)?;
            let packed = packed.get(..got).unwrap_or_default();
            let broken = || damaged(table.what, position);
            let (header, body) = packed
                .split_first_chunk::<HEADER_LEN>()
                .ok_or_else(broken)?;
            let header = u16::from_le_bytes(*header);
            let len = usize::from(header & !STORED);
            let body = body
                .get(..len)
                .filter(|body| !body.is_empty() && body.len() <= BLOCK_LEN)
                .ok_or_else(broken)?;
            let bytes: Box<[u8]> = if header & STORED != 0 {
                body.into()
            } else {
                let mut decoded = vec![0; BLOCK_LEN];
                let len = decompress::decode(self.codec, body, &mut decoded)
                    .map_err(|error| damaged(format!("{}: {error}", table.what), position))?;
                decoded.truncate(len);
                decoded.into()
            };
            // An empty block would let a hostile table pretend to go on for long.
            if bytes.is_empty() {
                return Err(broken());
            }
            let on_disk = HEADER_LEN.saturating_add(len) as u64;
            self.source.count(on_disk);
            Ok(Block {
                bytes,
                next: position.saturating_add(on_disk),
            })
        })
    }

    /// The 8-byte number at `position`, which must lie before `end`. For the plain lists of block
    /// positions that lead into the lookup tables.
    pub(super) fn pointer(
        &self,
        what: &'static str,
        position: u64,
        end: u64,
    ) -> Result<u64, TreeError> {
        let broken = || damaged(what, position);
        if position.checked_add(8).is_none_or(|last| last > end) {
            return Err(broken());
        }
        let inside = position.checked_rem(PIECE_LEN as u64).unwrap_or(0);
        let piece = self.piece(position.saturating_sub(inside))?;
        let bytes = piece.0.bytes.get(index(inside)..).unwrap_or_default();
        if let Some((number, _)) = bytes.split_first_chunk() {
            return Ok(u64::from_le_bytes(*number));
        }
        // It straddles two pieces.
        let mut number = [0; 8];
        self.source.read_exact_at(&mut number, position)?;
        Ok(u64::from_le_bytes(number))
    }

    fn piece(&self, position: u64) -> Result<SharedBlock, TreeError> {
        self.cache.get_or_try_insert_with(Key::Piece(position), || {
            let mut bytes = vec![0; PIECE_LEN];
            let window = self.window(position..position.saturating_add(PIECE_LEN as u64));
            let got = self.source.peek(&mut bytes, position, window)?;
            bytes.truncate(got);
            self.source.count(got as u64);
            Ok(SharedBlock(Arc::new(Block {
                bytes: bytes.into(),
                next: 0,
            })))
        })
    }
}

/// Reads a metadata stream from a place towards the end of its table.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    metadata: &'a Metadata,
    table: Table,
    block: SharedBlock,
    place: Place,
}

impl Cursor<'_> {
    /// Where the next byte comes from.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The error for something wrong with what lies here.
    pub(super) fn damaged(&self, what: &str) -> TreeError {
        damaged(what, self.place.block)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TreeError> {
        if let Some((taken, _)) = self.rest().split_first_chunk::<N>() {
            let taken = *taken;
            self.advance(N);
            return Ok(taken);
        }
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TreeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TreeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TreeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Fills all of `buffer`.
    pub(super) fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), TreeError> {
        while !buffer.is_empty() {
            let part = self.part(buffer.len())?;
            let count = part.len();
            let (to, rest) = buffer.split_at_mut_checked(count).unwrap_or_default();
            to.copy_from_slice(part);
            buffer = rest;
            self.advance(count);
        }
        Ok(())
    }

    /// Moves on by `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), TreeError> {
        while count > 0 {
            let taken = self.part(index(count))?.len();
            self.advance(taken);
            count = count.saturating_sub(taken as u64);
        }
        Ok(())
    }

    /// The next bytes that lie together, at least one and at most `limit`, not yet passed.
    pub(super) fn part(&mut self, limit: usize) -> Result<&[u8], TreeError> {
        if self.rest().is_empty() {
            let next = self.block.0.next;
            self.block = self.metadata.block(self.table, next)?;
            self.place = Place {
                block: next,
                offset: 0,
            };
        }
        let rest = self.rest();
        Ok(rest.get(..limit).unwrap_or(rest))
    }

    /// Passes `count` bytes, which the caller has seen in the block.
    pub(super) fn advance(&mut self, count: usize) {
        self.place.offset = self.place.offset.saturating_add(count);
    }

    fn rest(&self) -> &[u8] {
        self.block
            .0
            .bytes
            .get(self.place.offset..)
            .unwrap_or_default()
    }
}
