//! Who is waiting for bytes that are far away: for those who report progress, and for those who are
//! killed meanwhile.
//!
//! The kernel lets a process that was killed end only when its request is answered, and says so by
//! an INTERRUPT. That is sent for any signal, and once for a request: programs that catch a signal
//! do not expect a read to fail for it, so a request is given up only when its process is dying,
//! which is looked after until the request ends. The reply to the request goes to the device that it
//! was read from; the thread that works on it goes on, and its answer comes too late for anybody.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::reply::Replier;

/// Between two looks at a process that got a signal.
const PERIOD: Duration = Duration::from_millis(100);

/// INTERRUPTs remembered whose request does not wait (yet).
const MAX_EARLY: usize = 256;

/// Signals that end a process which does nothing about them: all but the job control ones and those
/// that are ignored by default. Bit `n - 1` is signal `n`.
const DEADLY: u64 = 0x7FFF_FFFF
    & !(1 << 16 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21)
    & !(1 << 22 | 1 << 27);

/// `SIGKILL`, which the kernel also sends to itself when another signal is to end a process.
const KILL: u64 = 1 << 8;

thread_local! {
    /// Process and number of the request that the thread works on.
    static WORK: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// A request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The process (thread) that asked; 0 for none, as with read-ahead.
    pub pid: u32,
    /// Since when.
    pub since: Instant,
}

#[derive(Debug)]
struct Wait {
    waiting: Waiting,
    request: u64,
    device: Arc<OwnedFd>,
    interrupted: bool,
}

/// Requests that wait, by the thread that works on them.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waits: HashMap<ThreadId, Wait>,
    /// Interrupted before they began to wait, or between two waits.
    early: VecDeque<u64>,
    /// A thread looks after those that were interrupted.
    watched: bool,
}

impl State {
    /// `request` was interrupted while it does not wait.
    fn remember(&mut self, request: u64) {
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(request);
    }
}

impl Waits {
    /// The calling thread now works on `request` for `pid`.
    pub(super) fn works_for(pid: u32, request: u64) {
        WORK.set((pid, request));
    }

    /// The calling thread begins to wait; its request came from `device`.
    pub(super) fn begin(&self, device: &Arc<OwnedFd>) {
        let (pid, request) = WORK.get();
        let mut state = self.lock();
        let early = state.early.iter().position(|known| *known == request);
        let wait = Wait {
            waiting: Waiting {
                pid,
                since: Instant::now(),
            },
            request,
            device: Arc::clone(device),
            interrupted: early.and_then(|at| state.early.remove(at)).is_some(),
        };
        let interrupted = wait.interrupted;
        state.waits.insert(thread::current().id(), wait);
        if interrupted {
            self.watch(&mut state);
        }
    }

    /// The calling thread goes on.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        let wait = state.waits.remove(&thread::current().id());
        if let Some(wait) = wait.filter(|wait| wait.interrupted) {
            // The kernel says so once, and the request may wait again.
            state.remember(wait.request);
        }
    }

    pub(super) fn list(&self) -> Vec<Waiting> {
        self.lock()
            .waits
            .values()
            .map(|wait| wait.waiting)
            .collect()
    }

    /// The process that waits for `request` got a signal.
    pub(super) fn interrupt(&self, request: u64) {
        let mut state = self.lock();
        match state.waits.values_mut().find(|it| it.request == request) {
            Some(wait) => {
                wait.interrupted = true;
                self.watch(&mut state);
            }
            None => state.remember(request),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has those who got signals looked after.
    fn watch(&self, state: &mut State) {
        if state.watched {
            return;
        }
        let waits = self.clone();
        let started = thread::Builder::new()
            .name("interrupt".into())
            .spawn(move || {
                while waits.give_up() {
                    thread::sleep(PERIOD);
                }
            });
        // Without a thread they wait as long as the network lets them.
        state.watched = started.is_ok();
    }

    /// Answers for requests of dying processes. `false` when none is left to look after.
    fn give_up(&self) -> bool {
        let mut state = self.lock();
        for wait in state.waits.values_mut().filter(|wait| wait.interrupted) {
            if is_dying(wait.waiting.pid) {
                wait.interrupted = false;
                // Answered meanwhile, or the device is no more.
                let _too_late = Replier::new(wait.device.as_fd()).error(wait.request, Errno::INTR);
            }
        }
        let watched = state.waits.values().any(|wait| wait.interrupted);
        state.watched = watched;
        watched
    }
}

/// Whether a thread has got a signal that will end it. One that cannot be looked at has not.
fn is_dying(tid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{tid}/status")).is_ok_and(|status| has_deadly(&status))
}

fn has_deadly(status: &str) -> bool {
    let mask = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    };
    let pending = mask("SigPnd:") | mask("ShdPnd:");
    let harmless = mask("SigBlk:") | mask("SigIgn:") | mask("SigCgt:");
    pending & (KILL | DEADLY & !harmless) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nSigPnd:\t{pending:016x}\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn who_is_dying() {
        let signal = |number: u32| 1_u64 << (number - 1);
        for (number, deadly) in [
            (9, true),
            (2, true),
            (3, true),
            (15, true),
            (17, false),
            (23, false),
            (28, false),
        ] {
            assert_eq!(has_deadly(&status(signal(number), 0)), deadly, "{number}");
        }
        assert!(!has_deadly(&status(signal(15), signal(15))), "caught");
        assert!(has_deadly(&status(signal(9), u64::MAX)));
        assert!(!has_deadly(""));
    }

    #[test]
    fn who_lives_goes_on_waiting() {
        use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let device = Arc::new(near);
        let waits = Waits::default();
        Waits::works_for(std::process::id(), 78);
        waits.interrupt(78);
        waits.begin(&device);
        assert_eq!(waits.list().len(), 1);
        assert!(waits.lock().watched, "interrupted before it began to wait");
        thread::sleep(PERIOD * 2);
        let mut reply = [0; 64];
        assert!(recv(&far, &mut reply[..], RecvFlags::DONTWAIT).is_err());
        waits.end();
        assert!(waits.list().is_empty());
        assert!(!waits.give_up());
        waits.begin(&device);
        assert!(waits.give_up(), "the same request waits once more");
        waits.end();
        Waits::works_for(std::process::id(), 80);
        waits.begin(&device);
        assert!(!waits.give_up(), "another one");
        waits.end();
    }
}
