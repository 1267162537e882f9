//! Who fetches what: one thread of one process at a time for every grain.
//!
//! Threads of a process agree through a table; processes through locks on ranges of the index file,
//! which go with their holder however that ends. A holder that makes no progress is overtaken after
//! a while: the bytes then cross the network twice, which is better than to wait for a stopped
//! process.

use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::store::Store;
use super::sys;

/// Locks are taken this far behind anything that is stored, one byte for each grain.
const LOCKS_AT: u64 = 1 << 62;

/// Pauses between two looks at what another process is doing.
const FIRST_PAUSE: Duration = Duration::from_micros(500);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// The ranges of grains that threads of this process are fetching.
#[derive(Debug, Default)]
pub(super) struct Claims {
    taken: Mutex<Vec<Range<u64>>>,
    progress: Condvar,
}

/// The right to fetch a range of grains; given back on drop.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    pub(super) grains: Range<u64>,
}

impl Claims {
    /// Claims the part of `grains` before the first that another thread fetches; `None` when that
    /// is the very first one.
    pub(super) fn try_claim(&self, grains: &Range<u64>) -> Option<Claim<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut end = grains.end;
        for other in taken.iter() {
            if other.end > grains.start && other.start < end {
                end = other.start;
            }
        }
        if end <= grains.start {
            return None;
        }
        let grains = grains.start..end;
        taken.push(grains.clone());
        Some(Claim {
            claims: self,
            grains,
        })
    }

    /// Waits until something arrives or a claim is given back, for a moment at most.
    pub(super) fn wait(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_empty() {
            return;
        }
        let waited = self.progress.wait_timeout(taken, LAST_PAUSE);
        drop(waited);
    }

    /// Tells waiting threads that grains have arrived.
    pub(super) fn arrived(&self) {
        self.progress.notify_all();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut taken = self
            .claims
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = taken.iter().position(|other| *other == self.grains) {
            taken.swap_remove(at);
        }
        drop(taken);
        self.claims.progress.notify_all();
    }
}

/// Where the locks of `grains` are.
fn place(grains: &Range<u64>) -> Range<u64> {
    let at = |grain: u64| LOCKS_AT.saturating_add(grain);
    at(grains.start)..at(grains.end)
}

/// The lock that keeps other processes from fetching the same.
#[derive(Debug)]
pub(super) struct Lock<'a> {
    store: &'a Store,
    range: Option<Range<u64>>,
}

impl<'a> Lock<'a> {
    /// The lock on `grains` if nobody fetches any of them.
    pub(super) fn try_take(store: &'a Store, grains: &Range<u64>) -> Option<Self> {
        let range = place(grains);
        match sys::try_lock(store.index.file(), &range) {
            Ok(true) => Some(Self {
                store,
                range: Some(range),
            }),
            Ok(false) | Err(_) => None,
        }
    }

    /// Waits until no other process fetches any of `grains`, all of them have arrived, or whoever
    /// fetches them has not brought a single grain for as long as `patience`.
    pub(super) fn take(store: &'a Store, grains: &Range<u64>, patience: Duration) -> Self {
        let range = place(grains);
        let mut pause = FIRST_PAUSE;
        let mut moved = Instant::now();
        let mut left = None;
        loop {
            match sys::try_lock(store.index.file(), &range) {
                Ok(true) => {
                    let range = Some(range);
                    return Self { store, range };
                }
                // A file system without locks: each process fetches for itself.
                Err(_) => return Self { store, range: None },
                Ok(false) => {}
            }
            let missing: u64 = store
                .missing(&store.bytes_of(grains))
                .iter()
                .map(|part| part.end.saturating_sub(part.start))
                .sum();
            if left != Some(missing) {
                moved = Instant::now();
                left = Some(missing);
                pause = FIRST_PAUSE;
            }
            if missing == 0 || moved.elapsed() > patience {
                return Self { store, range: None };
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if let Some(range) = &self.range {
            sys::unlock(self.store.index.file(), range);
        }
    }
}
