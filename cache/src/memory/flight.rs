//! One value in the making, and the threads that wait for it.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::waiting;

/// Running → landed with a value, or → failed; never back.
#[derive(Debug)]
enum State<V> {
    Running,
    Landed(V),
    Failed,
}

/// Where the waiters of one missing key meet.
#[derive(Debug)]
pub(super) struct Flight<V> {
    state: Mutex<State<V>>,
    over: Condvar,
}

impl<V: Clone> Flight<V> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::Running),
            over: Condvar::new(),
        }
    }

    /// Waits until the flight is over; `None` when it failed.
    pub(super) fn wait(&self) -> Option<V> {
        waiting::wait(|| self.wait_here())
    }

    fn wait_here(&self) -> Option<V> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*state {
                State::Running => {
                    state = self
                        .over
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                State::Landed(value) => return Some(value.clone()),
                State::Failed => return None,
            }
        }
    }

    /// Ends the flight with a value, unless it is over.
    pub(super) fn land(&self, value: V) {
        self.end(State::Landed(value));
    }

    /// Ends the flight without a value, unless it is over.
    pub(super) fn abandon(&self) {
        self.end(State::Failed);
    }

    fn end(&self, outcome: State<V>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Running) {
            *state = outcome;
            self.over.notify_all();
        }
    }
}
