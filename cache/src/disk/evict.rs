//! Making room: the chunks that nobody has used for the longest time go first.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};

use super::about::State;
use super::directory::{Cache, CacheError};
use super::key::BlobKey;
use super::store::{Store, now_ms};
use super::{CHUNK, GRAIN, GRAINS_PER_CHUNK};

const LOCK_FILE: &str = "evict.lock";

/// Whoever wants room waits this long for another process that is making some.
const PATIENCE: Duration = Duration::from_secs(2);

/// Beyond what is needed this part of the quota is freed, so that looking through the indexes pays.
const SLACK_PART: u64 = 32;
const SLACK_MAX: u64 = 1 << 30;

/// The most chunks that are ordered in one go: 32 MiB of memory.
const MANY: usize = 2 << 20;

/// A use this far in the future is the work of a clock that went wrong.
const CLOCK_SLACK_MS: u64 = 3_600_000;

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

/// A blob that is looked through.
struct Opened {
    stem: String,
    store: Store,
    /// The whole was compared with its digest.
    verified: bool,
}

/// A chunk that may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    last_use: u64,
    store: u32,
    chunk: u32,
}

impl Cache {
    /// Evicts until the cache takes `down_to` bytes, or without it until quota and free space are
    /// kept. Frees before what belongs to no blob.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn gc(&self, down_to: Option<u64>) -> Result<Freed, CacheError> {
        self.0.check_writable()?;
        let _lock = self.eviction_lock();
        self.tidy()?;
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
        let quota = self.quota();
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
        let file = self.0.open_own(".", LOCK_FILE, flags).ok()?;
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
        while freed.bytes < goal {
            let (mut stores, candidates) = self.candidates()?;
            let all = candidates.len() < MANY;
            let before = freed.chunks;
            for candidate in candidates {
                if freed.bytes >= goal {
                    break;
                }
                let number = usize::try_from(candidate.store).ok();
                let Some(blob) = number.and_then(|number| stores.get_mut(number)) else {
                    continue;
                };
                if std::mem::take(&mut blob.verified) {
                    // What is fetched in place of this is not what was compared.
                    self.0.set_state(&blob.stem, State::Unverified);
                }
                let chunk = u64::from(candidate.chunk);
                let bytes = bytes_of(&blob.store, chunk);
                if blob.store.evict(chunk).is_ok() {
                    freed.bytes = freed.bytes.saturating_add(bytes);
                    freed.chunks = freed.chunks.saturating_add(1);
                }
            }
            stores
                .iter()
                .for_each(|blob| blob.store.index.punch_empty());
            if all || freed.chunks == before {
                break;
            }
        }
        if freed.bytes < goal {
            self.tidy()?;
        }
        freed.used = self.0.recount()?;
        Ok(freed)
    }

    /// Frees what belongs to no blob, or to a part that its index does not know.
    fn tidy(&self) -> Result<(), CacheError> {
        self.0.remove_strays()?;
        self.stores(false)?
            .iter()
            .for_each(|blob| blob.store.sweep());
        Ok(())
    }

    /// The oldest chunks of the blobs that are not pinned, in order.
    fn candidates(&self) -> Result<(Vec<Opened>, Vec<Candidate>), CacheError> {
        let stores = self.stores(true)?;
        let mut candidates = Vec::new();
        let future = now_ms().saturating_add(CLOCK_SLACK_MS);
        for (number, blob) in (0_u32..).zip(&stores) {
            blob.store.index.scan_uses(&mut |first, uses| {
                let used = (first..).zip(uses).filter(|(_, last_use)| **last_use != 0);
                candidates.extend(used.filter_map(|(chunk, last_use)| {
                    Some(Candidate {
                        last_use: if *last_use > future { 1 } else { *last_use },
                        store: number,
                        chunk: u32::try_from(chunk).ok()?,
                    })
                }));
                if candidates.len() >= 2 * MANY {
                    candidates.select_nth_unstable(MANY);
                    candidates.truncate(MANY);
                }
            });
        }
        candidates.sort_unstable();
        candidates.truncate(MANY);
        Ok((stores, candidates))
    }

    /// The blobs' files, of those that may be evicted or of all.
    fn stores(&self, unpinned: bool) -> Result<Vec<Opened>, CacheError> {
        let stems = self.0.stems()?;
        let stems = stems
            .into_iter()
            .filter(|stem| !unpinned || !self.0.is_pinned(stem));
        Ok(stems
            .filter_map(|stem| {
                let record = self.0.record(&stem)?;
                let verified = record.state == State::Verified;
                let key = BlobKey::new(record.key);
                let store = self.0.store(&stem, &key, record.size).ok()?;
                Some(Opened {
                    stem,
                    store,
                    verified,
                })
            })
            .collect())
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
