//! Ending instances: politely first.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

use super::folder::Folder;
use super::proc::Proc;
use super::record::{Live, Record};
use super::sys;

/// How an instance is to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// Sent first.
    pub signal: i32,
    /// Time until it is killed.
    pub patience: Duration,
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It gets the signal.
    Stopping(&'a Record),
    /// It did not end in time.
    Killing(&'a Record),
}

/// How often is looked whether only process 1 is left.
const STEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// How long the kernel may take to clear away what was killed.
const CLEARING: Duration = Duration::from_secs(10);

struct Target {
    live: Live,
    /// Process 1, which ends after everything else in the instance.
    first: Option<OwnedFd>,
    over: bool,
}

/// Ends `instances` together and takes their records away.
pub fn stop(
    folder: &Folder,
    instances: Vec<Live>,
    manner: Manner,
    tell: &mut dyn FnMut(Event<'_>),
) {
    let proc = Proc::open().ok();
    let mut targets: Vec<Target> = instances
        .into_iter()
        .map(|live| Target {
            first: first_process(proc.as_ref(), &live.record),
            live,
            over: false,
        })
        .collect();
    for target in &targets {
        tell(Event::Stopping(&target.live.record));
        target.send(manner.signal);
    }
    let begin = Instant::now();
    let mut killed = manner.signal == libc::SIGKILL;
    loop {
        for target in targets.iter_mut().filter(|target| !target.over) {
            if target.has_ended() {
                target.over = true;
                folder.forget(&target.live.record);
            } else if !killed && target.is_childless(proc.as_ref()) {
                target.send(libc::SIGKILL);
            }
        }
        let left: Vec<&Target> = targets.iter().filter(|target| !target.over).collect();
        if left.is_empty() || begin.elapsed() > manner.patience + CLEARING {
            return;
        }
        if !killed && begin.elapsed() >= manner.patience {
            killed = true;
            for target in &left {
                tell(Event::Killing(&target.live.record));
                target.send(libc::SIGKILL);
            }
        }
        let mut watched: Vec<PollFd<'_>> = left
            .iter()
            .map(|target| PollFd::new(target.awaited(), PollFlags::IN))
            .collect();
        // An interruption only means an earlier look.
        let _looked = poll(&mut watched, Some(&STEP));
    }
}

/// A descriptor of process 1 of `record`, if that is who it says.
fn first_process(proc: Option<&Proc>, record: &Record) -> Option<OwnedFd> {
    let proof = record.skiff.as_ref()?;
    let pid = (record.pid > 0).then(|| Pid::from_raw(record.pid))??;
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let seen = proc?.look(record.pid).ok()??;
    (seen.parent == record.ppid && seen.start == proof.start).then_some(descriptor)
}

impl Target {
    /// Sends a signal by way of the keeper, which passes it on and takes process 1 along when it
    /// is killed.
    fn send(&self, signal: i32) {
        // One that has ended needs none.
        let _gone = sys::signal_process(self.live.keeper.as_fd(), signal);
    }

    fn is_childless(&self, proc: Option<&Proc>) -> bool {
        self.first.is_some()
            && proc.and_then(|proc| proc.is_childless(self.live.record.pid)) == Some(true)
    }

    fn has_ended(&self) -> bool {
        std::iter::once(&self.live.keeper)
            .chain(&self.first)
            .all(is_over)
    }

    /// What is still to end.
    fn awaited(&self) -> &OwnedFd {
        self.first
            .as_ref()
            .filter(|first| !is_over(first))
            .unwrap_or(&self.live.keeper)
    }
}

/// Whether the process behind `pidfd` has ended.
fn is_over(pidfd: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut watched, Some(&now)).is_ok() && !watched[0].revents().is_empty()
}
