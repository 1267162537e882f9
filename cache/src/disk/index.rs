//! The index file of a blob: which grains are there, and when chunks were last used.
//!
//! ```text
//! 0      magic "SKIFFIX1" · blob size u64 · sha256 of the key      (little endian, 48 bytes)
//! 4096   checksum u64 per grain; 0: not there
//! …      last use per chunk, Unix milliseconds u64; starts at the next multiple of 4096
//! ```
//! Read and written in place by many processes at once. Each number is written by one call of its
//! own or as part of a run; a mixture of two writes is a wrong checksum, which is a miss.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::sys;
use super::{GRAIN, GRAINS_PER_CHUNK};

const MAGIC: &[u8; 8] = b"SKIFFIX1";
const HEADER_LEN: usize = 48;
const SUMS_AT: u64 = 4096;

/// Held by whoever begins a new index; before the locks of grains and behind anything stored.
const BEGIN_LOCK: Range<u64> = (1 << 62) - 1..1 << 62;

/// How long another process may take to begin one.
const BEGIN_PATIENCE: Duration = Duration::from_secs(1);

/// Numbers read at a time.
const RUN: usize = 512;

/// An open index.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    grains: u64,
    uses_at: u64,
}

impl Index {
    /// Takes over `file`; one that is not the index of this blob is emptied if `writable`, and so is
    /// `data`, of which nothing is known then.
    ///
    /// # Errors
    /// When it cannot be read or emptied, or is another's and may not be written.
    pub(super) fn open(
        file: File,
        data: &File,
        key: &[u8; 32],
        size: u64,
        writable: bool,
    ) -> io::Result<Self> {
        let grains = size.div_ceil(GRAIN);
        let uses_at = grains
            .checked_mul(8)
            .and_then(|len| len.checked_add(SUMS_AT))
            .and_then(|end| end.checked_next_multiple_of(SUMS_AT))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let index = Self {
            file,
            grains,
            uses_at,
        };
        let mut expected = [0; HEADER_LEN];
        let (magic, rest) = expected.split_at_mut(8);
        let (size_field, key_field) = rest.split_at_mut(8);
        magic.copy_from_slice(MAGIC);
        size_field.copy_from_slice(&size.to_le_bytes());
        key_field.copy_from_slice(key);
        if !index.starts_with(&expected) {
            if !writable {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // Of many that find a new file only one begins it, lest a late one empties what another
            // has filled.
            let locked = index.lock_begin();
            if !index.starts_with(&expected) {
                index.file.set_len(0)?;
                data.set_len(0)?;
                index.file.write_all_at(&expected, 0)?;
            }
            if locked {
                sys::unlock(&index.file, &BEGIN_LOCK);
            }
        }
        Ok(index)
    }

    fn starts_with(&self, expected: &[u8; HEADER_LEN]) -> bool {
        let mut found = [0; HEADER_LEN];
        self.file.read_exact_at(&mut found, 0).is_ok() && found == *expected
    }

    /// Whether the lock was got; a process that was stopped while it held it is not waited for.
    fn lock_begin(&self) -> bool {
        let start = Instant::now();
        loop {
            match sys::try_lock(&self.file, &BEGIN_LOCK) {
                Ok(true) => return true,
                Ok(false) if start.elapsed() < BEGIN_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(false) | Err(_) => return false,
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) const fn grains(&self) -> u64 {
        self.grains
    }

    pub(super) const fn chunks(&self) -> u64 {
        self.grains.div_ceil(GRAINS_PER_CHUNK)
    }

    /// Checksums of `sums.len()` grains from `first` on; what cannot be read is not there.
    pub(super) fn sums(&self, first: u64, sums: &mut [u64]) {
        self.numbers(SUMS_AT, first, sums);
    }

    fn numbers(&self, table: u64, first: u64, numbers: &mut [u64]) {
        let mut bytes = [0; RUN * 8];
        let mut at = table.saturating_add(first.saturating_mul(8));
        for run in numbers.chunks_mut(RUN) {
            let bytes = bytes.get_mut(..run.len() * 8).unwrap_or_default();
            let got = read_some(&self.file, bytes, at);
            bytes.get_mut(got..).unwrap_or_default().fill(0);
            for (number, bytes) in run.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *number = u64::from_le_bytes(*bytes);
            }
            at = at.saturating_add((run.len() * 8) as u64);
        }
    }

    /// Notes checksums of grains from `first` on.
    pub(super) fn set_sums(&self, first: u64, sums: &[u64]) -> io::Result<()> {
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let at = SUMS_AT.saturating_add(first.saturating_mul(8));
        self.file.write_all_at(&bytes, at)
    }

    /// When `chunk` was last used, Unix milliseconds; 0 for never.
    pub(super) fn last_use(&self, chunk: u64) -> u64 {
        let mut number = [0];
        self.numbers(self.uses_at, chunk, &mut number);
        let [last_use] = number;
        last_use
    }

    /// Notes that chunk `chunk` was used at `when`.
    pub(super) fn set_use(&self, chunk: u64, when: u64) -> io::Result<()> {
        let at = self.uses_at.saturating_add(chunk.saturating_mul(8));
        self.file.write_all_at(&when.to_le_bytes(), at)
    }

    /// Calls `emit` with the first grain and the checksums of each stretch of the index that has
    /// any; holes of the file are skipped, so that an empty index of a large blob costs nothing.
    pub(super) fn scan(&self, grains: Range<u64>, emit: &mut dyn FnMut(u64, &[u64])) {
        self.scan_table(SUMS_AT, grains, emit);
    }

    /// As [`Index::scan`], for last uses.
    pub(super) fn scan_uses(&self, emit: &mut dyn FnMut(u64, &[u64])) {
        self.scan_table(self.uses_at, 0..self.chunks(), emit);
    }

    /// Gives back the blocks of the file that hold nothing but zeros. A number that is written
    /// meanwhile may be lost: a miss.
    pub(super) fn punch_empty(&self) {
        for (table, count) in [(SUMS_AT, self.grains), (self.uses_at, self.chunks())] {
            self.scan_table(table, 0..count, &mut |first, numbers| {
                let at = table.saturating_add(first.saturating_mul(8));
                let is_block = numbers.len() == RUN && at.is_multiple_of(SUMS_AT);
                if is_block && numbers.iter().all(|number| *number == 0) {
                    // What is not punched is only not freed.
                    let _not_freed = punch(&self.file, at..at.saturating_add(SUMS_AT));
                }
            });
        }
    }

    fn scan_table(&self, table: u64, range: Range<u64>, emit: &mut dyn FnMut(u64, &[u64])) {
        let mut numbers = [0; RUN];
        let mut at = range.start;
        while at < range.end {
            let offset = table.saturating_add(at.saturating_mul(8));
            match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
                Ok(data) => at = at.max(data.saturating_sub(table) / 8),
                // ENXIO: nothing but a hole from here on. File systems that know no holes answer
                // with the place itself.
                Err(_) => return,
            }
            let count = range.end.saturating_sub(at).min(RUN as u64);
            let run = usize::try_from(count)
                .ok()
                .and_then(|count| numbers.get_mut(..count))
                .unwrap_or_default();
            if run.is_empty() {
                return;
            }
            self.numbers(table, at, run);
            emit(at, run);
            at = at.saturating_add(count);
        }
    }
}

/// Frees the blocks of a range; it reads as zeros from then on.
pub(super) fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let len = range.end.saturating_sub(range.start);
    Ok(rustix::fs::fallocate(file, flags, range.start, len)?)
}

/// Reads until `buffer` is full, the file ends or fails; returns how much there was.
pub(super) fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}
