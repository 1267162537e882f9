//! Ranges of an image into the cache: in pieces, several at a time, within a budget.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use skiff_fs::source::CachedSource;

/// Fetched by one call: large enough for few requests, small enough that what a deadline cuts off
/// is little.
const PIECE: u64 = 8 << 20;

/// Pieces of one image at a time.
const STREAMS: usize = 4;

/// How many bytes may still be fetched, by all images together.
#[derive(Debug)]
pub(super) struct Budget(AtomicU64);

impl Budget {
    /// `None`: no limit.
    pub(super) fn new(bytes: Option<u64>) -> Self {
        Self(AtomicU64::new(bytes.unwrap_or(u64::MAX)))
    }

    /// Takes up to `wanted` bytes.
    fn take(&self, wanted: u64) -> u64 {
        let rest = |left: u64| Some(left.saturating_sub(wanted));
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .map_or(0, |before| before.min(wanted))
    }
}

/// Fetches what the cache lacks of `ranges`. An origin that gives no parts is read in one go, and
/// all of it, when `whole` says so. No more than `room` bytes are fetched: the cache would have to
/// forget the first to keep the last. Returns whether the budget sufficed.
///
/// # Errors
/// The first that occurs; what came before is kept.
pub(super) fn ranges(
    source: &CachedSource,
    ranges: &[Range<u64>],
    whole: Option<u64>,
    room: u64,
    budget: &Budget,
) -> anyhow::Result<bool> {
    let mut pieces = pieces(source, ranges);
    let outside = match whole {
        Some(size) if pieces.is_empty() || size <= room => 0,
        Some(size) => {
            pieces.clear();
            size
        }
        None => cut(source, &mut pieces, room),
    };
    if let (Some(size), false) = (whole, pieces.is_empty()) {
        pieces.clear();
        pieces.push(0..size);
    }
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<io::Error>> = Mutex::default();
    let limited = AtomicBool::new(false);
    let failed = || {
        let failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.is_some()
    };
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed() {
                return;
            }
            match one(source, piece, whole.is_some(), budget) {
                Ok(true) => {}
                Ok(false) => limited.store(true, Ordering::Relaxed),
                Err(error) => {
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..STREAMS.min(pieces.len()) {
            // With fewer threads it takes longer, that is all.
            let _fewer = std::thread::Builder::new()
                .name("fetch".into())
                .spawn_scoped(scope, work);
        }
        work();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error).context("fetching");
    }
    if outside > 0 {
        bail!(
            "{} of it do not fit into the cache besides the rest (SKIFF_CACHE_QUOTA)",
            indicatif::HumanBytes(outside)
        );
    }
    if limited.into_inner() {
        return Ok(false);
    }
    let missing: u64 = ranges.iter().map(|range| missing(source, range)).sum();
    if missing > 0 {
        bail!(
            "{} of it did not stay in the cache, which has no room for more",
            indicatif::HumanBytes(missing)
        );
    }
    Ok(true)
}

/// Drops the pieces for which there is no room; returns how many bytes they miss.
fn cut(source: &CachedSource, pieces: &mut Vec<Range<u64>>, room: u64) -> u64 {
    let mut wanted = 0_u64;
    let mut outside = 0_u64;
    pieces.retain(|piece| {
        let missing = missing(source, piece);
        wanted = wanted.saturating_add(missing);
        if wanted > room {
            outside = outside.saturating_add(missing);
        }
        wanted <= room
    });
    outside
}

fn missing(source: &CachedSource, range: &Range<u64>) -> u64 {
    let parts = source.missing(range.clone()).into_iter();
    parts.map(|part| part.end.saturating_sub(part.start)).sum()
}

/// Fetches one piece, as much of it as the budget allows; returns whether that is all.
fn one(
    source: &CachedSource,
    piece: &Range<u64>,
    is_whole: bool,
    budget: &Budget,
) -> io::Result<bool> {
    let mut missing = source.missing(piece.clone());
    let len = |range: &Range<u64>| range.end.saturating_sub(range.start);
    let wanted: u64 = missing.iter().map(len).sum();
    let mut granted = budget.take(wanted);
    if granted == wanted {
        return source.fill(piece.clone()).map(|_| true);
    }
    if is_whole {
        // A part would cost as much as the whole.
        return Ok(false);
    }
    for range in &mut missing {
        range.end = range.end.min(range.start.saturating_add(granted));
        granted = granted.saturating_sub(len(range));
        if !range.is_empty() {
            source.fill(range.clone())?;
        }
    }
    Ok(false)
}

/// What is missing of `ranges`, in pieces.
fn pieces(source: &CachedSource, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let missing = ranges
        .iter()
        .filter(|range| !source.missing((*range).clone()).is_empty());
    missing
        .flat_map(|range| {
            let end = range.end;
            let starts = (range.start..end).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
            starts.map(move |start| start..end.min(start.saturating_add(PIECE)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        let budget = Budget::new(Some(100));
        assert_eq!(budget.take(60), 60);
        assert_eq!(budget.take(60), 40);
        assert_eq!(budget.take(1), 0);
        assert_eq!(Budget::new(None).take(1 << 60), 1 << 60);
    }
}
