//! Who is waiting for bytes that are far away: for those who report progress.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

thread_local! {
    /// Process whose request the thread works on.
    static ASKING: Cell<u32> = const { Cell::new(0) };
}

/// A request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The process (thread) that asked; 0 for none, as with read-ahead.
    pub pid: u32,
    /// Since when.
    pub since: Instant,
}

/// Requests that wait, by the thread that works on them.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<HashMap<ThreadId, Waiting>>);

impl Waits {
    /// The calling thread now works for `pid`.
    pub(super) fn works_for(pid: u32) {
        ASKING.set(pid);
    }

    /// The calling thread begins to wait.
    pub(super) fn begin(&self) {
        let waiting = Waiting {
            pid: ASKING.get(),
            since: Instant::now(),
        };
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.insert(thread::current().id(), waiting);
    }

    /// The calling thread goes on.
    pub(super) fn end(&self) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.remove(&thread::current().id());
    }

    pub(super) fn list(&self) -> Vec<Waiting> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.values().copied().collect()
    }
}
