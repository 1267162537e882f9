//! Making room: the chunks that nobody has used for the longest time go first.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};

use super::directory::{Cache, CacheError};
use super::key::BlobKey;
use super::store::Store;
use super::{CHUNK, GRAIN, GRAINS_PER_CHUNK};

const LOCK_FILE: &str = "evict.lock";

/// Whoever wants room waits this long for another process that is making some.
const PATIENCE: Duration = Duration::from_secs(2);

/// Beyond what is needed this part of the quota is freed, so that looking through the indexes pays.
const SLACK_PART: u64 = 32;
const SLACK_MAX: u64 = 64 << 20;

/// What an eviction gave back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Freed {
    /// Bytes of data.
    pub bytes: u64,
    /// Chunks they were in.
    pub chunks: u64,
    /// Bytes that the cache takes now.
    pub used: u64,
}

/// A chunk that may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    last_use: u64,
    store: usize,
    chunk: u64,
}

impl Cache {
    /// Evicts until the cache takes `down_to` bytes, or without it until quota and free space are
    /// kept.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn gc(&self, down_to: Option<u64>) -> Result<Freed, CacheError> {
        self.0.check_writable()?;
        let _lock = self.eviction_lock();
        let used = self.0.recount()?;
        let disk = self.0.disk();
        let limit = down_to.unwrap_or(self.0.limits.quota_of(disk.size));
        let short = self
            .0
            .limits
            .keep_free_of(disk.size)
            .saturating_sub(disk.free);
        let goal = used.saturating_sub(limit);
        self.evict(if down_to.is_some() {
            goal
        } else {
            goal.max(short)
        })
    }

    /// Frees enough that `bytes` more fit into the quota and `short` more bytes are free.
    pub(super) fn make_room(&self, bytes: u64, short: u64) -> Result<(), CacheError> {
        let _lock = self.eviction_lock();
        // Another process may have done it meanwhile; and the count may have been wrong.
        let used = self.0.recount()?;
        let quota = self.0.limits.quota_of(self.0.disk().size);
        let over = used.saturating_add(bytes).saturating_sub(quota);
        let goal = over.max(short);
        if goal > 0 {
            let slack = (quota / SLACK_PART).min(SLACK_MAX);
            self.evict(goal.saturating_add(slack))?;
        }
        Ok(())
    }

    fn eviction_lock(&self) -> Option<File> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = self.0.open_file(".", LOCK_FILE, flags).ok()?;
        let start = Instant::now();
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if start.elapsed() > PATIENCE {
                // Two that evict at once free more than needed, nothing worse.
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(file)
    }

    /// Evicts at least `goal` bytes, if there are as many.
    fn evict(&self, goal: u64) -> Result<Freed, CacheError> {
        let mut freed = Freed::default();
        if goal > 0 {
            let (stores, mut candidates) = self.candidates()?;
            candidates.sort_unstable();
            for candidate in candidates {
                if freed.bytes >= goal {
                    break;
                }
                let Some(store) = stores.get(candidate.store) else {
                    continue;
                };
                let bytes = bytes_of(store, candidate.chunk);
                if store.evict(candidate.chunk).is_ok() {
                    freed.bytes = freed.bytes.saturating_add(bytes);
                    freed.chunks = freed.chunks.saturating_add(1);
                }
            }
            if freed.bytes < goal {
                stores.iter().for_each(Store::sweep);
            }
        }
        freed.used = self.0.recount()?;
        Ok(freed)
    }

    /// Every chunk of the blobs that are not pinned.
    fn candidates(&self) -> Result<(Vec<Store>, Vec<Candidate>), CacheError> {
        let mut stores = Vec::new();
        let mut candidates = Vec::new();
        for stem in self.0.stems()? {
            if self.0.is_pinned(&stem) {
                continue;
            }
            let Some(record) = self.0.record(&stem) else {
                continue;
            };
            let key = BlobKey::new(record.key);
            if key.stem() != stem {
                continue;
            }
            let Ok(store) = self.0.store(&stem, &key, record.size) else {
                continue;
            };
            let number = stores.len();
            store.index.scan_uses(&mut |first, uses| {
                let used = (first..).zip(uses).filter(|(_, last_use)| **last_use != 0);
                candidates.extend(used.map(|(chunk, last_use)| Candidate {
                    last_use: *last_use,
                    store: number,
                    chunk,
                }));
            });
            stores.push(store);
        }
        Ok((stores, candidates))
    }
}

/// Bytes of a chunk that are there.
fn bytes_of(store: &Store, chunk: u64) -> u64 {
    let mut sums = [0; GRAINS_PER_CHUNK as usize];
    let first = chunk.saturating_mul(GRAINS_PER_CHUNK);
    let count = store
        .index
        .grains()
        .saturating_sub(first)
        .min(GRAINS_PER_CHUNK);
    let sums = usize::try_from(count)
        .ok()
        .and_then(|count| sums.get_mut(..count))
        .unwrap_or_default();
    store.index.sums(first, sums);
    let there = sums.iter().filter(|sum| **sum != 0).count() as u64;
    there.saturating_mul(GRAIN).min(CHUNK)
}
