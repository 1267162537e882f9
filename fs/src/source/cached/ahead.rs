//! Threads that fetch what was announced, in front of those who will read it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// Requests on their way at once. With 2 ms there and back, four of [`PIECE_BYTES`] fill 10 Gbit/s;
/// the others hide the slow ones.
const THREADS: usize = 8;

/// Bytes per request: large against what a round trip costs, small enough that a reader does not
/// wait for what lies behind what it needs.
const PIECE_BYTES: u64 = 2 << 20;

/// Ranges waiting at most; beyond that readers fetch for themselves.
const MAX_QUEUED: usize = 256;

/// Fetches ranges.
pub(super) trait Fill: Send + Sync {
    /// Fetches `range`; errors are left for whoever reads it.
    fn fill(&self, range: Range<u64>);
}

#[derive(Default)]
struct State {
    queue: VecDeque<Range<u64>>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// The queue and its threads, which start with the first range.
#[derive(Default)]
pub(super) struct Ahead {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

impl Ahead {
    /// Has `range` fetched soon.
    pub(super) fn queue<F: Fill + 'static>(&self, range: Range<u64>, filler: &Weak<F>) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut at = range.start;
        while at < range.end && state.queue.len() < MAX_QUEUED {
            let end = at.saturating_add(PIECE_BYTES).min(range.end);
            state.queue.push_back(at..end);
            at = end;
        }
        let wanted = state.queue.len().saturating_sub(state.idle);
        for _ in 0..wanted.min(THREADS.saturating_sub(state.threads)) {
            let (shared, filler) = (Arc::clone(&self.shared), Weak::clone(filler));
            let started = std::thread::Builder::new()
                .name(format!("fetch-{}", state.threads))
                .spawn(move || shared.work(&filler));
            // Without threads nothing is fetched ahead, that is all.
            state.threads += usize::from(started.is_ok());
        }
        drop(state);
        self.shared.arrived.notify_all();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.shared.arrived.notify_all();
    }
}

impl Shared {
    fn work<F: Fill>(&self, filler: &Weak<F>) {
        while let Some(range) = self.next() {
            let Some(filler) = filler.upgrade() else {
                return;
            };
            filler.fill(range);
        }
    }

    fn next(&self) -> Option<Range<u64>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.closed {
                return None;
            }
            if let Some(range) = state.queue.pop_front() {
                return Some(range);
            }
            state.idle += 1;
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}
