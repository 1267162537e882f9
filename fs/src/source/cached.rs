//! A source that is far away, seen through the node's chunk cache.
//!
//! ```text
//! read ─► blob of a shared cache (read-only) ─► blob of the own cache ─► origin
//! ```
//! A hit costs two reads of local files and a checksum. A miss asks the origin for exactly the
//! missing grains, or for the window that the reader named; whoever else wants them waits for the
//! same answer, in this process and in others. Where there is no cache, or its disk fails, every
//! read goes to the origin.

mod ahead;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use skiff_cache::disk::{Blob, State};
use skiff_cache::waiting;

use super::Source;
use super::origin::{Latencies, Origin, OriginFigures};
use ahead::{Ahead, Fill};

/// Counters of a cached source since it was opened.
#[derive(Clone, Debug, Default)]
pub struct CachedFigures {
    /// Reads answered from the cache.
    pub hits: u64,
    /// Reads that had to wait for the origin.
    pub misses: u64,
    /// Bytes answered from the cache.
    pub hit_bytes: u64,
    /// Waits by class of [`super::origin::LATENCY_CLASSES_MS`].
    pub latencies: Vec<u64>,
    /// What was asked of the origin.
    pub origin: OriginFigures,
}

/// Bytes of an origin through up to two blobs of the chunk cache.
#[derive(Debug)]
pub struct CachedSource {
    me: Weak<Self>,
    size: u64,
    shared: Option<Blob>,
    own: Option<Blob>,
    origin: Arc<dyn Origin>,
    /// Asked before this process took over.
    earlier: OnceLock<OriginFigures>,
    /// The whole has been looked through, or is being so.
    verified: AtomicBool,
    /// Why nothing more is to be read: the whole is not what it should be.
    refused: Mutex<Option<String>>,
    is_refused: AtomicBool,
    /// An origin without ranges is being fetched from start to end.
    streaming: AtomicBool,
    hits: AtomicU64,
    hit_bytes: AtomicU64,
    misses: AtomicU64,
    latencies: Latencies,
    ahead: Ahead,
}

impl CachedSource {
    /// `size` bytes of `origin`, looked for in `shared` and `own` first.
    pub fn new(
        size: u64,
        shared: Option<Blob>,
        own: Option<Blob>,
        origin: Arc<dyn Origin>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            size,
            shared,
            own,
            origin,
            earlier: OnceLock::new(),
            verified: AtomicBool::new(false),
            refused: Mutex::new(None),
            is_refused: AtomicBool::new(false),
            streaming: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            hit_bytes: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            latencies: Latencies::default(),
            ahead: Ahead::default(),
        })
    }

    /// The blob in the own cache, if there is one.
    pub fn blob(&self) -> Option<&Blob> {
        self.own.as_ref()
    }

    /// The blob of the shared cache, if it is there.
    pub fn shared_blob(&self) -> Option<&Blob> {
        self.shared.as_ref()
    }

    /// Counters.
    pub fn figures(&self) -> CachedFigures {
        CachedFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            hit_bytes: self.hit_bytes.load(Ordering::Relaxed),
            latencies: self.latencies.counts().to_vec(),
            origin: self.origin.figures() + self.earlier.get().copied().unwrap_or_default(),
        }
    }

    /// Counts what another process asked on behalf of this one; once.
    pub fn count_earlier(&self, figures: OriginFigures) {
        self.earlier.get_or_init(|| figures);
    }

    /// Parts of `range` that neither cache has, by their indexes.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let own = |range: Range<u64>| match &self.own {
            Some(blob) => blob.missing(range),
            None => vec![range],
        };
        match &self.shared {
            Some(shared) => shared.missing(range).into_iter().flat_map(own).collect(),
            None => own(range),
        }
    }

    /// Brings `range` into the cache, waiting for it; returns how many bytes this call fetched.
    ///
    /// # Errors
    /// When the origin does not give them, or there is no cache to put them in.
    pub fn fill(&self, range: Range<u64>) -> io::Result<u64> {
        let Some(own) = &self.own else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "there is no cache directory that can be written",
            ));
        };
        self.check_refused()?;
        let mut fetched = 0_u64;
        for part in self.missing(range.start..range.end.min(self.size)) {
            self.about_to_fetch(own);
            fetched = fetched.saturating_add(own.fill(part, self.origin.as_ref())?);
        }
        self.verify_when_complete();
        self.check_refused()?;
        Ok(fetched)
    }

    /// Keeps `first`, the blob's first bytes, which came along with its name.
    pub fn keep_start(&self, first: &[u8]) {
        if let Some(own) = &self.own {
            let end = (first.len() as u64).min(self.size);
            // A cache that cannot be written is passed by.
            let _passed_by = own.fill(0..end, &Known(first));
        }
    }

    /// Takes back what is said of the blob if what comes now is not checked: a part that was evicted
    /// or damaged is fetched anew, and the whole is to be compared again. Whichever process said so:
    /// without a digest none did, and nothing needs to be looked up.
    fn about_to_fetch(&self, own: &Blob) {
        if self.origin.is_verified() || own.about().digest.is_none() {
            return;
        }
        let is_good = |state| matches!(state, State::Verified | State::Parts);
        if is_good(own.state()) || is_good(own.noted_state()) {
            own.set_state(State::Unverified);
            self.verified.store(false, Ordering::Release);
        }
    }

    /// Compares the whole with its digest once all of it is there.
    fn verify_when_complete(&self) {
        let Some(own) = &self.own else {
            return;
        };
        let can_be_compared = |digest: &String| digest.starts_with("sha256:");
        if !own.about().digest.as_ref().is_some_and(can_be_compared)
            || matches!(own.state(), State::Verified | State::Mismatch)
            || !own.is_complete()
            || self.verified.swap(true, Ordering::AcqRel)
        {
            return;
        }
        match own.compare(&mut |found| is_digest(&own.about().digest, found)) {
            Some(true) => {}
            Some(false) => {
                own.discard();
                self.refuse(format!(
                    "{} does not have the content that its digest promises: the server or a \
                     proxy in between damaged it; it was removed from the cache",
                    own.about().name
                ));
            }
            // Parts were evicted meanwhile: another time.
            None => self.verified.store(false, Ordering::Release),
        }
    }

    /// Has the whole compared with its digest by another thread, if this was the last part of it.
    fn verify_soon(&self) {
        let is_open = !self.verified.load(Ordering::Acquire);
        if is_open && self.own.as_ref().is_some_and(Blob::is_complete) {
            // There is nothing to fetch; what follows a fetch is what matters.
            self.ahead.queue(0..1, &self.me);
        }
    }

    fn refuse(&self, reason: String) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.is_refused.store(true, Ordering::Release);
    }

    fn check_refused(&self) -> io::Result<()> {
        if !self.is_refused.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            reason.clone().unwrap_or_default(),
        ))
    }

    /// Gets what no cache had.
    fn read_far(&self, buf: &mut [u8], offset: u64, window: Range<u64>) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        let Some(own) = &self.own else {
            let mut filled = 0;
            return self.origin.fetch(offset..end, &mut |bytes| {
                let room = buf.get_mut(filled..).unwrap_or_default();
                let count = bytes.len().min(room.len());
                let (part, bytes) = (room.get_mut(..count), bytes.get(..count));
                if let (Some(part), Some(bytes)) = (part, bytes) {
                    part.copy_from_slice(bytes);
                }
                filled += count;
                Ok(())
            });
        };
        self.about_to_fetch(own);
        if !self.origin.has_ranges() && !self.streaming.swap(true, Ordering::AcqRel) {
            // Everything comes anyway: once, and from then on it is here.
            self.stream(own);
        }
        let window = self.whole_units(window.start.min(offset)..window.end.max(end));
        if window != (offset..end) {
            // Should it fail midway, what is needed may have come before.
            let _tried_below = own.fill(window, self.origin.as_ref());
        }
        own.read_through(buf, offset, self.origin.as_ref())
    }

    /// `range` with all of the origin's units that it touches.
    fn whole_units(&self, range: Range<u64>) -> Range<u64> {
        let unit = self.origin.unit().max(1);
        let start = range.start.checked_div(unit).unwrap_or(0);
        let end = range.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
        start.saturating_mul(unit)..end.min(self.size)
    }

    /// Fetches the whole in one go, in a thread of its own.
    fn stream(&self, own: &Blob) {
        let (own, me) = (own.clone(), Weak::clone(&self.me));
        let (size, origin) = (self.size, Arc::clone(&self.origin));
        let started = std::thread::Builder::new()
            .name("stream".into())
            .spawn(move || {
                // Readers meet the error themselves.
                let _met_by_readers = own.fill(0..size, origin.as_ref());
                if let Some(source) = me.upgrade() {
                    source.streaming.store(false, Ordering::Release);
                    source.verify_when_complete();
                }
            });
        if started.is_err() {
            self.streaming.store(false, Ordering::Release);
        }
    }
}

/// Whether `expected` (`sha256:<hex>`) is the digest `found`.
fn is_digest(expected: &Option<String>, found: &[u8; 32]) -> bool {
    use std::fmt::Write as _;
    let hex = found.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    });
    expected
        .as_deref()
        .and_then(|text| text.strip_prefix("sha256:"))
        .is_some_and(|text| text.eq_ignore_ascii_case(&hex))
}

impl Source for CachedSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset.saturating_add(buf.len() as u64);
        self.read_within(buf, offset, offset..end)
    }

    fn read_within(&self, buf: &mut [u8], offset: u64, window: Range<u64>) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        self.check_refused()?;
        for blob in [&self.shared, &self.own].into_iter().flatten() {
            if blob.read_cached(buf, offset) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                self.hit_bytes.fetch_add(wanted as u64, Ordering::Relaxed);
                return Ok(wanted);
            }
        }
        if !waiting::may_fetch() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        waiting::wait(|| self.read_far(buf, offset, window))?;
        self.verify_soon();
        self.latencies.note(start);
        Ok(wanted)
    }

    fn will_need(&self, range: Range<u64>) {
        if self.own.is_none() || !self.origin.has_ranges() {
            return;
        }
        for part in self.missing(self.whole_units(range)) {
            self.ahead.queue(part, &self.me);
        }
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl Fill for CachedSource {
    fn fill(&self, range: Range<u64>) {
        // The read that needs these bytes will meet the same error and report it.
        let _met_by_reader = CachedSource::fill(self, range);
    }
}

/// Bytes that are here already, as an origin of the range they are.
struct Known<'a>(&'a [u8]);

impl skiff_cache::disk::Fetch for Known<'_> {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        match self.0.get(at(range.start)..at(range.end)) {
            Some(bytes) => sink(bytes),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests;
