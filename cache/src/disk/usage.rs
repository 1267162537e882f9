//! How many bytes the cache takes, agreed upon by all processes that write to it.
//!
//! A file holds the count. A process takes room from it a chunk at a time and then writes without
//! asking, so that all of them together exceed the quota by a chunk each at most. What dies with its
//! process, or was counted twice, is put right by the next eviction, which looks at the files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::directory::{Cache, CacheError, Directory};
use super::{CHUNK, GRAIN};

const FILE: &str = "usage";

/// After a failure nothing is stored for this long: a full disk is not asked thousands of times.
const PASS_BY_FOR: Duration = Duration::from_secs(5);

/// How long the count may be in use by others; one of them may be stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// A grain's share of the index, generously.
const INDEX_BYTES_PER_GRAIN: u64 = 16;

/// Bytes on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Taken by the cache.
    pub used: u64,
    /// What it may take.
    pub quota: u64,
    /// Free on the disk.
    pub free: u64,
    /// What it leaves free.
    pub keep_free: u64,
    /// Size of the disk.
    pub disk: u64,
}

/// This process's share in the count.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes taken from the count and not written yet.
    credit: u64,
    /// Bytes written to files of a directory that was removed: no eviction ever frees them.
    nameless: u64,
    passing_by_since: Option<Instant>,
}

impl Ledger {
    /// The count is wrong: to be made anew.
    pub(super) fn forget(&self) {
        self.lock().credit = 0;
    }

    /// Writing failed: nothing more for a while.
    pub(super) fn pass_by(&self) {
        self.lock().passing_by_since = Some(Instant::now());
    }

    /// Room for `bytes` in files that only this process still knows.
    fn take_nameless(state: &mut State, bytes: u64, quota: u64) -> bool {
        let sum = state.nameless.saturating_add(bytes);
        if sum > quota {
            return false;
        }
        state.nameless = sum;
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Figures of the directory and its disk.
    ///
    /// # Errors
    /// When they cannot be looked at.
    pub fn usage(&self) -> Result<Usage, CacheError> {
        let disk = self.0.disk();
        Ok(Usage {
            used: self.0.measure()?,
            quota: self.0.limits.quota_of(disk.size),
            free: disk.free,
            keep_free: self.0.limits.keep_free_of(disk.size),
            disk: disk.size,
        })
    }

    /// How many bytes the cache may take.
    pub fn quota(&self) -> u64 {
        self.0.limits.quota_of(self.0.disk().size)
    }

    /// Takes room for `grains` grains, evicting others if need be; `false` when they are not to be
    /// stored.
    pub(super) fn reserve(&self, grains: u64) -> bool {
        let bytes = grains.saturating_mul(GRAIN + INDEX_BYTES_PER_GRAIN);
        let mut state = self.0.ledger.lock();
        match state.passing_by_since {
            Some(since) if since.elapsed() < PASS_BY_FOR => return false,
            Some(_) => state.passing_by_since = None,
            None => {}
        }
        if state.credit < bytes {
            // What is taken and not written never exceeds a chunk (and its part of the index).
            let wanted = bytes.max(CHUNK).saturating_sub(state.credit);
            if !self.take(wanted, &mut state) {
                state.passing_by_since = Some(Instant::now());
                return false;
            }
            state.credit = state.credit.saturating_add(wanted);
        }
        state.credit = state.credit.saturating_sub(bytes);
        true
    }

    /// Takes `bytes` from the count.
    fn take(&self, bytes: u64, state: &mut State) -> bool {
        // Once as things stand, once after making room.
        for may_evict in [true, false] {
            let disk = self.0.disk();
            let keep_free = self.0.limits.keep_free_of(disk.size);
            let short = keep_free.saturating_add(bytes).saturating_sub(disk.free);
            let quota = self.0.limits.quota_of(disk.size);
            if self.0.is_nameless() {
                return short == 0 && Ledger::take_nameless(state, bytes, quota);
            }
            if short == 0 && self.0.count(bytes, quota) {
                return true;
            }
            if may_evict && self.make_room(bytes, short).is_err() {
                return false;
            }
        }
        false
    }
}

/// Size and free bytes of a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) size: u64,
    pub(super) free: u64,
}

impl Directory {
    pub(super) fn disk(&self) -> Disk {
        match rustix::fs::fstatvfs(&self.fd) {
            Ok(stat) => Disk {
                size: stat.f_blocks.saturating_mul(stat.f_frsize),
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
            },
            // Then writing will say what is wrong.
            Err(_) => Disk {
                size: u64::MAX,
                free: u64::MAX,
            },
        }
    }

    /// Adds `bytes` to the count unless that would exceed `quota`.
    fn count(&self, bytes: u64, quota: u64) -> bool {
        let Some(file) = self.counter() else {
            return false;
        };
        let used = self.counted(&file);
        let sum = used.saturating_add(bytes);
        if sum > quota {
            return false;
        }
        // A count that cannot be written is put right by the next eviction.
        let _later = file.write_all_at(&sum.to_le_bytes(), 0);
        true
    }

    /// Sets the count to what the files say.
    pub(super) fn recount(&self) -> Result<u64, CacheError> {
        let file = self.counter();
        let used = self.measure()?;
        if let Some(file) = file {
            let _later = file.write_all_at(&used.to_le_bytes(), 0);
        }
        Ok(used)
    }

    /// The count as it stands; a file that is new or damaged is counted anew.
    fn counted(&self, file: &File) -> u64 {
        let mut bytes = [0; 8];
        if file.metadata().is_ok_and(|data| data.len() == 8)
            && file.read_exact_at(&mut bytes, 0).is_ok()
        {
            return u64::from_le_bytes(bytes);
        }
        self.measure().unwrap_or(0)
    }

    /// The counter's file, locked until it is dropped; `None` when it cannot be had now. On a file
    /// system without locks it is not locked, and the count a rough one.
    fn counter(&self) -> Option<File> {
        let file = self
            .open_own(".", FILE, OFlags::RDWR | OFlags::CREATE)
            .ok()?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(Errno::WOULDBLOCK) => return None,
                Ok(()) | Err(_) => return Some(file),
            }
        }
    }
}
