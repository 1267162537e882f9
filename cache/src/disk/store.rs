//! A blob's data and index files as one: grains that are believed or not.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::claims;
use super::index::{Index, punch, read_some};
use super::{CHUNK, GRAIN, GRAINS_PER_CHUNK};

/// A use is noted again only when the last note is older: one that is read all the time costs ten
/// writes a second and not one per read.
const USE_STEP_MS: u64 = 100;

/// Chunks of which this process remembers when it last noted a use.
const REMEMBERED: usize = 1024;

/// Grains looked at in one go by scans.
const PIECE_GRAINS: usize = 64;

thread_local! {
    /// Checksums of what is being read.
    static SUMS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub(super) struct Store {
    data: File,
    pub(super) index: Index,
    size: u64,
    seed: u64,
    writable: bool,
    /// `chunk << 24 | time in steps`, by hash of the chunk.
    noted: Box<[AtomicU64]>,
}

impl Store {
    pub(super) fn new(data: File, index: Index, key: &[u8; 32], size: u64, writable: bool) -> Self {
        Self {
            data,
            index,
            size,
            seed: key
                .first_chunk()
                .map_or(0, |first| u64::from_le_bytes(*first)),
            writable,
            noted: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) const fn is_writable(&self) -> bool {
        self.writable
    }

    /// Grains that `range` of bytes touches.
    pub(super) fn grains_of(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.min(self.size);
        range.start / GRAIN..end.div_ceil(GRAIN).max(range.start / GRAIN)
    }

    /// Bytes of grains.
    pub(super) fn bytes_of(&self, grains: &Range<u64>) -> Range<u64> {
        let at = |grain: u64| grain.saturating_mul(GRAIN).min(self.size);
        at(grains.start)..at(grains.end)
    }

    /// Bytes of the disk that the data takes.
    pub(super) fn allocated(&self) -> u64 {
        self.data
            .metadata()
            .map_or(0, |data| data.blocks().saturating_mul(512))
    }

    /// Whether the files still are in the cache: others may have removed or replaced them.
    pub(super) fn has_names(&self) -> bool {
        [&self.data, self.index.file()]
            .iter()
            .all(|file| file.metadata().is_ok_and(|data| data.nlink() > 0))
    }

    fn sum(&self, grain: u64, bytes: &[u8]) -> u64 {
        // Seeded with blob and place: bytes that moved are not believed. 0 means absent.
        xxh3_64_with_seed(bytes, self.seed.wrapping_add(grain)).max(1)
    }

    /// Reads whole grains into `bytes`; calls `believed` with the number of each that holds.
    /// `bytes` has the length of these grains.
    pub(super) fn read_grains(
        &self,
        grains: &Range<u64>,
        bytes: &mut [u8],
        believed: &mut dyn FnMut(u64),
    ) {
        let mut sums = [0; PIECE_GRAINS];
        let mut at = grains.start;
        for piece in bytes.chunks_mut(PIECE_GRAINS * GRAIN as usize) {
            let count = piece.len().div_ceil(GRAIN as usize);
            let sums = sums.get_mut(..count).unwrap_or_default();
            self.index.sums(at, sums);
            if sums.iter().any(|sum| *sum != 0) {
                let got = read_some(&self.data, piece, at.saturating_mul(GRAIN));
                let piece = piece.get(..got).unwrap_or_default();
                let grains = piece.chunks(GRAIN as usize);
                for ((number, sum), grain) in (at..).zip(sums.iter()).zip(grains) {
                    if *sum != 0 && self.sum(number, grain) == *sum {
                        believed(number);
                    }
                }
            }
            at = at.saturating_add(count as u64);
        }
    }

    /// Fills `buf` from byte `offset` on if all of it is there and holds; else its content is
    /// whatever.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> bool {
        let Some(end) = offset
            .checked_add(buf.len() as u64)
            .filter(|end| *end <= self.size)
        else {
            return false;
        };
        let grains = self.grains_of(&(offset..end));
        let bytes = self.bytes_of(&grains);
        let count = grains.end.saturating_sub(grains.start);
        if bytes == (offset..end) {
            let mut there = 0;
            self.read_grains(&grains, buf, &mut |_| there += 1);
            if there != count {
                return false;
            }
            self.note_use(&grains);
            return true;
        }
        let there = SUMS.with_borrow_mut(|sums| {
            sums.clear();
            sums.resize(usize::try_from(count).unwrap_or(0), 0);
            self.index.sums(grains.start, sums);
            sums.iter().all(|sum| *sum != 0) && self.read_around(buf, offset, &bytes, sums)
        });
        if there {
            self.note_use(&grains);
        }
        there
    }

    /// Fills `buf` from byte `offset` on; `true` if all of `bytes`, the whole grains around, have
    /// these checksums. What is before and behind is read beside, so that nothing is copied but the
    /// two grains at the ends.
    fn read_around(&self, buf: &mut [u8], offset: u64, bytes: &Range<u64>, sums: &[u64]) -> bool {
        let len = |range: Range<u64>| {
            usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
        };
        let (mut before, mut behind) = ([0; GRAIN as usize], [0; GRAIN as usize]);
        let end = offset.saturating_add(buf.len() as u64);
        let (skip, rest) = (len(bytes.start..offset), len(end..bytes.end));
        let (Some(before), Some(behind)) = (before.get_mut(..skip), behind.get_mut(..rest)) else {
            return false;
        };
        let whole = len(bytes.clone());
        let mut parts = [
            IoSliceMut::new(before),
            IoSliceMut::new(buf),
            IoSliceMut::new(behind),
        ];
        if rustix::io::preadv(&self.data, &mut parts, bytes.start) != Ok(whole) {
            return false;
        }
        let mut edge = [0; GRAIN as usize];
        let first = bytes.start / GRAIN;
        let places = (0..whole).step_by(GRAIN as usize);
        (first..).zip(sums).zip(places).all(|((grain, sum), at)| {
            let until = at.saturating_add(GRAIN as usize).min(whole);
            // Within `buf`, or across an end of it.
            let inside = at
                .checked_sub(skip)
                .and_then(|from| buf.get(from..until.saturating_sub(skip)));
            let content = match inside {
                Some(content) => Some(content),
                None => {
                    let all = before.iter().chain(&*buf).chain(&*behind);
                    let edge = edge.get_mut(..until.saturating_sub(at));
                    edge.map(|edge| {
                        for (to, from) in edge.iter_mut().zip(all.skip(at)) {
                            *to = *from;
                        }
                        &*edge
                    })
                }
            };
            content.is_some_and(|content| self.sum(grain, content) == *sum)
        })
    }

    /// Puts whole grains from `first` on into the files: data first, checksums after. The use is
    /// noted before, so that the evictor finds what a killed process leaves behind, and again
    /// after, as the evictor may have been here meanwhile.
    pub(super) fn write_grains(&self, first: u64, bytes: &[u8]) -> io::Result<()> {
        let end = first.saturating_add((bytes.len() as u64).div_ceil(GRAIN));
        let chunks = first / GRAINS_PER_CHUNK..end.div_ceil(GRAINS_PER_CHUNK);
        let now = now_ms();
        for chunk in chunks.clone() {
            self.index.set_use(chunk, now)?;
        }
        self.data.write_all_at(bytes, first.saturating_mul(GRAIN))?;
        let sums: Vec<u64> = (first..)
            .zip(bytes.chunks(GRAIN as usize))
            .map(|(grain, bytes)| self.sum(grain, bytes))
            .collect();
        self.index.set_sums(first, &sums)?;
        chunks.for_each(|chunk| self.note(chunk, now));
        Ok(())
    }

    /// Forgets `grains`: what the index says of them is wrong.
    pub(super) fn forget(&self, grains: &Range<u64>) {
        let count = grains.end.saturating_sub(grains.start).min(1 << 20);
        let zeros = vec![0; usize::try_from(count).unwrap_or(0)];
        // They are not believed either way.
        let _not_believed = self.index.set_sums(grains.start, &zeros);
    }

    /// Gives up chunk `chunk`: the index first, so that nobody reads the hole as data.
    pub(super) fn evict(&self, chunk: u64) -> io::Result<()> {
        let first = chunk.saturating_mul(GRAINS_PER_CHUNK);
        let end = first
            .saturating_add(GRAINS_PER_CHUNK)
            .min(self.index.grains());
        let zeros = [0; GRAINS_PER_CHUNK as usize];
        let count = usize::try_from(end.saturating_sub(first)).unwrap_or(0);
        self.index
            .set_sums(first, zeros.get(..count).unwrap_or_default())?;
        self.index.set_use(chunk, 0)?;
        let start = chunk.saturating_mul(CHUNK);
        punch(&self.data, start..start.saturating_add(CHUNK))
    }

    /// Frees what the index does not know: left by processes that were killed between data and
    /// checksum. What somebody is fetching is left alone.
    pub(super) fn sweep(&self) {
        for grains in self.missing(&(0..self.size)) {
            let Some(_lock) = claims::Lock::try_take(self, &grains) else {
                continue;
            };
            for grains in self.missing(&self.bytes_of(&grains)) {
                let bytes = self.bytes_of(&grains);
                // Up to the end of the block, which may be behind that of the blob.
                let end = bytes.end.next_multiple_of(GRAIN);
                // What is not punched is only not freed.
                let _not_freed = punch(&self.data, bytes.start..end);
            }
        }
        let len = self.data.metadata().map_or(0, |data| data.len());
        if len > self.size {
            // Nothing of ours is there.
            let _not_freed = self.data.set_len(self.size);
        }
        self.note_unused();
    }

    /// Makes chunks that are there but have no last use the oldest ones: nothing else finds them.
    fn note_unused(&self) {
        let mut unused = Vec::new();
        let mut last = None;
        self.index.scan(0..self.index.grains(), &mut |first, sums| {
            for (grain, _) in (first..).zip(sums).filter(|(_, sum)| **sum != 0) {
                let chunk = grain / GRAINS_PER_CHUNK;
                if last != Some(chunk) {
                    last = Some(chunk);
                    if self.index.last_use(chunk) == 0 {
                        unused.push(chunk);
                    }
                }
            }
        });
        unused.into_iter().for_each(|chunk| self.note(chunk, 1));
    }

    /// The first grain that is beyond the data: whatever the index says, it is not there.
    fn data_end(&self) -> u64 {
        let len = self.data.metadata().map_or(0, |data| data.len());
        if len >= self.size {
            self.index.grains()
        } else {
            len / GRAIN
        }
    }

    /// Bytes that are there, by the index.
    pub(super) fn present(&self) -> u64 {
        let mut present = 0_u64;
        let end = self.data_end();
        self.index.scan(0..self.index.grains(), &mut |first, sums| {
            for (grain, _) in (first..end).zip(sums).filter(|(_, sum)| **sum != 0) {
                let bytes = self.bytes_of(&(grain..grain.saturating_add(1)));
                present = present.saturating_add(bytes.end.saturating_sub(bytes.start));
            }
        });
        present
    }

    /// Parts of `range` that the index does not have, in whole grains.
    pub(super) fn missing(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let grains = self.grains_of(range);
        let mut missing = Vec::new();
        let mut next = grains.start;
        let end = self.data_end();
        self.index.scan(grains.clone(), &mut |first, sums| {
            for (grain, sum) in (first..end).zip(sums) {
                if *sum != 0 {
                    push(&mut missing, next..grain);
                    next = grain.saturating_add(1);
                }
            }
        });
        push(&mut missing, next..grains.end);
        missing
    }

    fn note_use(&self, grains: &Range<u64>) {
        if !self.writable {
            return;
        }
        let now = now_ms();
        for chunk in grains.start / GRAINS_PER_CHUNK..grains.end.div_ceil(GRAINS_PER_CHUNK) {
            let note = (chunk << 24) | ((now / USE_STEP_MS) & 0xFF_FFFF);
            let slot = usize::try_from(chunk).unwrap_or(0) % REMEMBERED;
            let Some(slot) = self.noted.get(slot) else {
                continue;
            };
            if slot.swap(note, Ordering::Relaxed) != note {
                self.note(chunk, now);
            }
        }
    }

    fn note(&self, chunk: u64, now: u64) {
        // A use that is not noted makes the chunk look older, that is all.
        let _looks_older = self.index.set_use(chunk, now);
    }
}

fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
