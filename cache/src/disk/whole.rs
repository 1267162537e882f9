//! Looking through the whole of a blob: whether its parts hold, and whether they are what they should
//! be together.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::CHUNK;
use super::about::State;
use super::blob::{Blob, grain_count};
use super::store::Store;

/// What [`Blob::check`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Bytes that are there and hold.
    pub good_bytes: u64,
    /// Bytes that did not hold and were dropped.
    pub dropped_bytes: u64,
}

/// Is shown the grains of a chunk and room for their bytes; `false` ends the tour.
type Look<'a> = dyn FnMut(Range<u64>, &mut [u8], &Store) -> bool + 'a;

impl Blob {
    /// Reads everything that is there and drops what does not hold.
    pub fn check(&self) -> CheckReport {
        let mut report = CheckReport::default();
        let store = &self.store();
        let mut space = Vec::new();
        store
            .index
            .scan(0..store.index.grains(), &mut |first, sums| {
                let grains = first..first.saturating_add(sums.len() as u64);
                let bytes = store.bytes_of(&grains);
                let len = bytes.end.saturating_sub(bytes.start);
                space.resize(usize::try_from(len).unwrap_or(0), 0);
                let mut good = vec![false; sums.len()];
                store.read_grains(&grains, &mut space, &mut |grain| {
                    let at = usize::try_from(grain.saturating_sub(first)).unwrap_or(usize::MAX);
                    if let Some(good) = good.get_mut(at) {
                        *good = true;
                    }
                });
                for ((grain, sum), good) in (first..).zip(sums).zip(&good) {
                    let one = grain..grain.saturating_add(1);
                    let len = store.bytes_of(&one);
                    let len = len.end.saturating_sub(len.start);
                    if *good {
                        report.good_bytes = report.good_bytes.saturating_add(len);
                    } else if *sum != 0 {
                        report.dropped_bytes = report.dropped_bytes.saturating_add(len);
                        if store.is_writable() {
                            store.forget(&one);
                        }
                    }
                }
            });
        report
    }

    /// Shows the sha256 of the whole to `fits` and notes what that says; `None` when not all of it is
    /// there and holds, or some of it was replaced meanwhile.
    pub fn compare(&self, fits: &mut dyn FnMut(&[u8; 32]) -> bool) -> Option<bool> {
        let before = self.seal();
        let digest = self.digest()?;
        if !fits(&digest) {
            // Parts of two downloads may make a whole that is neither.
            let differs = self.seal() == before;
            if differs {
                self.set_state(State::Mismatch);
            }
            return differs.then_some(false);
        }
        // First it is said and then looked at: who evicts or fetches a part after the look finds that
        // there is something to take back.
        self.set_state(State::Verified);
        if self.seal() != before {
            self.set_state(State::Unverified);
            return None;
        }
        Some(true)
    }

    /// Tells what is there from what was there, by the index alone.
    fn seal(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let store = &self.store();
        let whole = 0..store.index.grains();
        store.index.scan(whole, &mut |first, sums| {
            for (grain, sum) in (first..).zip(sums).filter(|(_, sum)| **sum != 0) {
                (grain, *sum).hash(&mut hasher);
            }
        });
        hasher.finish()
    }

    /// The sha256 of the whole; `None` when not all of it is there and holds.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut hasher = Sha256::new();
        let whole = self.each_chunk(&mut |grains, bytes, store| {
            let mut there = 0;
            store.read_grains(&grains, bytes, &mut |_| there += 1);
            hasher.update(&*bytes);
            there == grain_count(&grains)
        });
        whole.then(|| hasher.finalize().into())
    }

    /// Calls `look` with each chunk's grains and room for their bytes, until it returns `false`.
    fn each_chunk(&self, look: &mut Look<'_>) -> bool {
        let store = &self.store();
        let mut space = vec![0; CHUNK as usize];
        let mut at = 0;
        while at < self.size() {
            let end = at.saturating_add(CHUNK).min(self.size());
            let len = usize::try_from(end.saturating_sub(at)).unwrap_or(0);
            let Some(bytes) = space.get_mut(..len) else {
                return false;
            };
            if !look(store.grains_of(&(at..end)), bytes, store) {
                return false;
            }
            at = end;
        }
        true
    }
}
