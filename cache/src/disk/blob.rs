//! A cached blob: reading what is there, fetching what is not.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::about::{About, Record, State};
use super::claims::{Claims, Lock};
use super::directory::Cache;
use super::key::BlobKey;
use super::store::Store;
use super::{CHUNK, GRAIN};

/// Gives ranges of a blob.
pub trait Fetch: Send + Sync {
    /// Calls `sink` with the bytes of `range`, in order, in pieces. May fail midway.
    ///
    /// # Errors
    /// What the network reports, or `sink`.
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// An open blob of a cache; clones are the same one.
#[derive(Clone, Debug)]
pub struct Blob(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cache: Cache,
    stem: String,
    key: BlobKey,
    about: About,
    state: Mutex<State>,
    /// Replaced when others have removed the files.
    store: RwLock<Arc<Store>>,
    claims: Claims,
    /// Removed on purpose: nothing more is kept.
    discarded: AtomicBool,
}

impl Inner {
    fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The files to write to: those at hand, or new ones in place of files that are no longer in the
    /// cache; `None` when nothing is to be kept.
    fn store_to_write(&self, at_hand: &Arc<Store>) -> Option<Arc<Store>> {
        if self.discarded.load(Ordering::Relaxed) || !at_hand.is_writable() {
            return None;
        }
        // Files of a directory that is gone are this process's alone, and good enough for it.
        if at_hand.has_names() || self.cache.0.is_nameless() {
            return Some(Arc::clone(at_hand));
        }
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        if !store.has_names() {
            let made = self.cache.0.provide(&self.stem, &self.key, &self.about);
            let (_, new) = made.ok()?;
            *store = Arc::new(new);
        }
        Some(Arc::clone(&store)).filter(|store| store.is_writable())
    }
}

impl Blob {
    /// The files at hand.
    pub(super) fn store(&self) -> Arc<Store> {
        self.0.store()
    }

    pub(super) fn new(cache: Cache, stem: String, record: Record, store: Store) -> Self {
        Self(Arc::new(Inner {
            cache,
            stem,
            about: record.about(),
            state: Mutex::new(record.state),
            key: BlobKey::new(record.key),
            store: RwLock::new(Arc::new(store)),
            claims: Claims::default(),
            discarded: AtomicBool::new(false),
        }))
    }

    /// Its identity.
    pub fn key(&self) -> &BlobKey {
        &self.0.key
    }

    /// What it is.
    pub fn about(&self) -> &About {
        &self.0.about
    }

    /// Length of the whole in bytes.
    pub fn size(&self) -> u64 {
        self.0.about.size
    }

    /// What came of comparing the whole with its digest.
    pub fn state(&self) -> State {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What any process noted of it last; reads a file.
    pub fn noted_state(&self) -> State {
        let record = self.0.cache.0.record(&self.0.stem);
        record.map_or_else(|| self.state(), |record| record.state)
    }

    /// Notes what came of it, for all processes.
    pub fn set_state(&self, state: State) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.0.cache.0.set_state(&self.0.stem, state);
    }

    /// Removes it from the cache: its content is not what it should be.
    pub fn discard(&self) {
        self.0.discarded.store(true, Ordering::Relaxed);
        // What cannot be removed has its state to tell.
        let _told = self.0.cache.remove(&self.0.key);
    }

    /// Fills `buf` from byte `offset` on if all of it is there and holds; waits for nobody. On
    /// `false` its content is whatever.
    pub fn read_cached(&self, buf: &mut [u8], offset: u64) -> bool {
        self.0.store().read(buf, offset)
    }

    /// Parts of `range` that are not there, by the index alone, in whole grains.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let store = &self.0.store();
        let missing = store.missing(&range);
        missing
            .iter()
            .map(|grains| store.bytes_of(grains))
            .collect()
    }

    /// Bytes that are there, by the index alone.
    pub fn cached_bytes(&self) -> u64 {
        self.0.store().present()
    }

    /// Whether all of it is there, by the index alone. Cheap while much is missing.
    pub fn is_complete(&self) -> bool {
        self.0.store().allocated() >= self.size() && self.missing(0..self.size()).is_empty()
    }

    /// When anything of it was last read or stored, Unix milliseconds; 0 for never.
    pub fn last_use(&self) -> u64 {
        let mut last = 0;
        self.0.store().index.scan_uses(&mut |_, uses| {
            last = uses.iter().copied().fold(last, u64::max);
        });
        last
    }

    /// Fills `buf` from byte `offset` on. What is missing is fetched, by one thread of one process
    /// however many want it. A cache that cannot be written is passed by.
    ///
    /// # Errors
    /// What `fetch` reports, and a range beyond the blob's end.
    pub fn read_through(&self, buf: &mut [u8], offset: u64, fetch: &dyn Fetch) -> io::Result<()> {
        let store = &self.0.store();
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|end| *end <= store.size())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let grains = store.grains_of(&(offset..end));
        let bytes = store.bytes_of(&grains);
        let mut wanted = Wanted::new(store, grains);
        // Ends: each turn fetches something, or waits for a thread that does.
        loop {
            wanted.read_what_is_there(store);
            let missing = wanted.missing();
            let Some(first) = missing.first() else {
                break;
            };
            if !store.is_writable() {
                // Nowhere to keep it: everybody for himself.
                for part in &missing {
                    self.fetch_into(part, &mut wanted, store, fetch)?;
                }
                break;
            }
            let Some(claim) = self.0.claims.try_claim(first) else {
                self.0.claims.wait();
                continue;
            };
            let _lock = Lock::take(store, &claim.grains, self.0.cache.0.patience());
            // Another process may have brought it while we waited for the lock.
            wanted.read_what_is_there(store);
            for part in wanted.missing() {
                if part.start >= claim.grains.end {
                    break;
                }
                let part = part.start..part.end.min(claim.grains.end);
                self.fetch_into(&part, &mut wanted, store, fetch)?;
            }
        }
        let skip = usize::try_from(offset.saturating_sub(bytes.start)).unwrap_or(usize::MAX);
        let part = wanted
            .bytes
            .get(skip..)
            .and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Brings all of `range` into the cache; returns how many bytes this call fetched. What others
    /// are fetching already is waited for.
    ///
    /// # Errors
    /// What `fetch` reports; [`io::ErrorKind::StorageFull`] when there is no room for it.
    pub fn fill(&self, range: Range<u64>, fetch: &dyn Fetch) -> io::Result<u64> {
        let store = &self.0.store();
        let mut fetched = 0_u64;
        for mut extent in store.missing(&range) {
            // Each part is asked for once: what cannot be stored is not asked for again.
            while let Some(first) = store.missing(&store.bytes_of(&extent)).into_iter().next() {
                if !store.is_writable() {
                    return Err(full());
                }
                let Some(claim) = self.0.claims.try_claim(&first) else {
                    self.0.claims.wait();
                    continue;
                };
                let _lock = Lock::take(store, &claim.grains, self.0.cache.0.patience());
                fetched = fetched.saturating_add(self.fill_claimed(store, &claim.grains, fetch)?);
                extent.start = claim.grains.end;
            }
        }
        Ok(fetched)
    }

    /// Fetches what is still missing of `grains`, which are claimed.
    fn fill_claimed(
        &self,
        store: &Arc<Store>,
        grains: &Range<u64>,
        fetch: &dyn Fetch,
    ) -> io::Result<u64> {
        let mut fetched = 0_u64;
        for part in store.missing(&store.bytes_of(grains)) {
            let mut keep = Keep::new(self, store, &part);
            let asked = store.bytes_of(&part);
            let outcome = fetch.fetch(asked, &mut |bytes| keep.take(bytes));
            fetched = fetched.saturating_add(keep.taken);
            outcome.and_then(|()| keep.finish())?;
            if keep.refused {
                return Err(full());
            }
        }
        Ok(fetched)
    }

    /// Fetches grains for a reader and keeps them if there is room.
    fn fetch_into(
        &self,
        part: &Range<u64>,
        wanted: &mut Wanted,
        store: &Arc<Store>,
        fetch: &dyn Fetch,
    ) -> io::Result<()> {
        let mut keep = Keep::new(self, store, part);
        let asked = store.bytes_of(part);
        let mut at = part.start;
        let target = wanted.part(part).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut done = 0;
        let outcome = fetch.fetch(asked, &mut |bytes| {
            let room = target.get_mut(done..).unwrap_or_default();
            let count = bytes.len().min(room.len());
            if let (Some(to), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
                to.copy_from_slice(bytes);
            }
            done += count;
            keep.take(bytes)
        });
        let whole = done / GRAIN as usize;
        let complete = done == target.len();
        for _ in 0..whole {
            wanted.mark(at);
            at = at.saturating_add(1);
        }
        if complete {
            (at..part.end).for_each(|grain| wanted.mark(grain));
        }
        outcome?;
        if !complete {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        keep.finish()
    }
}

fn full() -> io::Error {
    io::Error::new(
        io::ErrorKind::StorageFull,
        "there is no room in the cache, or it cannot be written",
    )
}

pub(super) fn grain_count(grains: &Range<u64>) -> usize {
    usize::try_from(grains.end.saturating_sub(grains.start)).unwrap_or(usize::MAX)
}

/// Grains that a reader collects.
struct Wanted {
    grains: Range<u64>,
    bytes: Vec<u8>,
    have: Vec<bool>,
}

impl Wanted {
    fn new(store: &Store, grains: Range<u64>) -> Self {
        let bytes = store.bytes_of(&grains);
        let len = usize::try_from(bytes.end.saturating_sub(bytes.start)).unwrap_or(0);
        Self {
            bytes: vec![0; len],
            have: vec![false; grain_count(&grains)],
            grains,
        }
    }

    fn index(&self, grain: u64) -> usize {
        usize::try_from(grain.saturating_sub(self.grains.start)).unwrap_or(usize::MAX)
    }

    fn mark(&mut self, grain: u64) {
        let at = self.index(grain);
        if let Some(have) = self.have.get_mut(at) {
            *have = true;
        }
    }

    /// The place of `grains`.
    fn part(&mut self, grains: &Range<u64>) -> Option<&mut [u8]> {
        let from = self.index(grains.start).checked_mul(GRAIN as usize)?;
        let to = self.index(grains.end).checked_mul(GRAIN as usize)?;
        let to = to.min(self.bytes.len());
        self.bytes.get_mut(from..to)
    }

    fn read_what_is_there(&mut self, store: &Store) {
        for grains in self.missing() {
            let mut found = Vec::new();
            if let Some(bytes) = self.part(&grains) {
                store.read_grains(&grains, bytes, &mut |grain| found.push(grain));
            }
            found.into_iter().for_each(|grain| self.mark(grain));
        }
    }

    /// What is still to come.
    fn missing(&self) -> Vec<Range<u64>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for (grain, have) in (self.grains.start..).zip(&self.have) {
            if *have {
                continue;
            }
            let end = grain.saturating_add(1);
            match missing.last_mut() {
                Some(last) if last.end == grain => last.end = end,
                _ => missing.push(grain..end),
            }
        }
        missing
    }
}

/// Puts arriving bytes into the cache, grain by grain.
struct Keep<'a> {
    blob: &'a Blob,
    store: Arc<Store>,
    /// First grain that is not stored.
    next: u64,
    end: u64,
    /// Bytes of grains that are not complete.
    rest: Vec<u8>,
    /// There is no room.
    refused: bool,
    taken: u64,
}

impl<'a> Keep<'a> {
    fn new(blob: &'a Blob, store: &Arc<Store>, grains: &Range<u64>) -> Self {
        Self {
            blob,
            store: Arc::clone(store),
            next: grains.start,
            end: grains.end,
            rest: Vec::new(),
            refused: !store.is_writable(),
            taken: 0,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        if self.refused {
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / GRAIN as usize * GRAIN as usize;
        if whole > 0 {
            self.store_all(whole);
        }
        Ok(())
    }

    /// Stores what remains: the blob's last grain is a short one.
    fn finish(&mut self) -> io::Result<()> {
        if self.refused {
            return Ok(());
        }
        let left = self.store.bytes_of(&(self.next..self.end));
        if self.rest.len() as u64 != left.end.saturating_sub(left.start) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.rest.is_empty() {
            self.store_all(self.rest.len());
        }
        Ok(())
    }

    /// Stores the first `len` bytes of the rest, a chunk at a time: more is never on its way past
    /// the quota.
    fn store_all(&mut self, len: usize) {
        let mut rest = std::mem::take(&mut self.rest);
        for piece in rest.get(..len).unwrap_or_default().chunks(CHUNK as usize) {
            if !self.store_piece(piece) {
                self.refused = true;
                return;
            }
        }
        rest.drain(..len);
        self.rest = rest;
    }

    fn store_piece(&mut self, bytes: &[u8]) -> bool {
        let inner = &self.blob.0;
        let grains = (bytes.len() as u64).div_ceil(GRAIN);
        // More than was asked for is not ours to believe.
        if self.next.saturating_add(grains) > self.end || !inner.cache.reserve(grains) {
            return false;
        }
        let Some(store) = inner.store_to_write(&self.store) else {
            return false;
        };
        self.store = store;
        if self.store.write_grains(self.next, bytes).is_err() {
            inner.cache.0.ledger.pass_by();
            return false;
        }
        self.next = self.next.saturating_add(grains);
        inner.claims.arrived();
        true
    }
}
