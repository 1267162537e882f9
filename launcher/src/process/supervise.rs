//! The two processes that wait: the one on the host that stands for a PID namespace, and process
//! 1 in it.
//!
//! Signals that a terminal key sent went to the whole foreground group, the program included;
//! only those that somebody sent to us alone are passed on.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait, waitpid};

use super::setup;
use crate::error::{LaunchError, errno_reason};
use crate::kernel;

/// Exit code of a program that a signal killed, as shells give it.
const SIGNALLED: i32 = 128;

/// How often it is looked whether the container's orphans are still there.
const ORPHAN_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// What a launch that writes to images waits for at its end.
#[derive(Debug)]
pub(crate) struct Flush {
    /// Ends when the images are complete on disk.
    flushed: OwnedFd,
    /// Children from before, of the program that became this one: they are not the container's.
    others: Vec<String>,
}

impl Flush {
    /// Makes orphans of the container, which is still to be started, children of this process: by
    /// them it sees that the container lives on.
    pub(crate) fn adopt_orphans(flushed: OwnedFd) -> Result<Self, LaunchError> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| {
            LaunchError::Setup {
                step: "adopting orphans",
                reason: errno_reason(error),
            }
        })?;
        Ok(Self {
            flushed,
            others: children(),
        })
    }

    /// Waits until all that was written to an image is on disk. Processes that the container has
    /// left behind keep it mounted; they are not waited for.
    fn wait(&self) {
        loop {
            let mut watched = [PollFd::new(&self.flushed, PollFlags::IN)];
            match poll(&mut watched, Some(&ORPHAN_INTERVAL)) {
                Ok(0) | Err(Errno::INTR) => {}
                _ => return,
            }
            reap_all();
            if children().iter().any(|child| !self.others.contains(child)) {
                return;
            }
        }
    }
}

/// Numbers of this process's children; none where the kernel does not tell.
fn children() -> Vec<String> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
    let list = list.unwrap_or_default();
    list.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Waits for process 1 and ends as it did; signals are blocked already. With `flush`, images that
/// were written to are complete when this returns.
pub(crate) fn outer(child: i32, flush: Option<Flush>) -> Result<u8, LaunchError> {
    let status = match flush {
        Some(flush) => {
            let status = wait_with_orphans(child)?;
            flush.wait();
            status
        }
        None => wait_outside(child)?,
    };
    if let Some(signal) = status.terminating_signal() {
        kernel::die_by(signal);
    }
    Ok(exit_code(status))
}

/// As [`outer`], and lives on to tell the exit code, in which a signal is one too.
pub(crate) fn outer_code(child: i32) -> Result<u8, LaunchError> {
    wait_outside(child).map(exit_code)
}

fn wait_outside(child: i32) -> Result<WaitStatus, LaunchError> {
    wait_for(child, || {
        let child = Pid::from_raw(child)?;
        waitpid(Some(child), WaitOptions::NOHANG)
            .ok()
            .flatten()
            .map(|(_, status)| status)
    })
}

/// Is process 1 of an instance, which stays when its program has ended. Signals go to the whole
/// process group of the program, `group`; asked to end, it ends with that.
pub(crate) fn init_of_instance(group: Option<i32>) -> Result<u8, LaunchError> {
    // As in `init`.
    rustix::thread::set_name(c"appinit").ok();
    kernel::reset_signal_dispositions(true).map_err(setup::io("resetting signals"))?;
    let group = group.and_then(Pid::from_raw);
    let mut asked_to_end = None;
    loop {
        // Children may have died before the disposition was set.
        reap_all();
        if let Some(signal) = asked_to_end
            && !exists(group)
        {
            return Ok(u8::try_from((SIGNALLED + signal) & 0xff).unwrap_or(u8::MAX));
        }
        let signal = kernel::wait_for_signal().map_err(setup::io("waiting for signals"))?;
        if signal.number == libc::SIGCHLD {
            continue;
        }
        pass_on(group, signal.number);
        if ENDINGS.contains(&signal.number) {
            asked_to_end = Some(signal.number);
        }
    }
}

/// Signals that ask a program to end.
const ENDINGS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];

fn exists(group: Option<Pid>) -> bool {
    group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
}

fn pass_on(group: Option<Pid>, signal: i32) {
    if let (Some(group), Some(signal)) = (group, Signal::from_named_raw(signal)) {
        // A group that is gone needs no signal.
        let _gone = rustix::process::kill_process_group(group, signal);
    }
}

/// Collects every dead child.
fn reap_all() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_)) | Err(Errno::INTR)) {}
}

/// Is process 1: collects every dead child, and ends with the program, which ends all others.
pub(crate) fn init(child: i32) -> Result<u8, LaunchError> {
    // What `ps` shows in the container; a nicety that may fail.
    rustix::thread::set_name(c"appinit").ok();
    wait_with_orphans(child).map(exit_code)
}

/// Waits for `child`, and collects every other dead child meanwhile.
fn wait_with_orphans(child: i32) -> Result<WaitStatus, LaunchError> {
    wait_for(child, || {
        loop {
            // An error says that there is no child left, which cannot be while the program runs.
            let (pid, status) = wait(WaitOptions::NOHANG).ok().flatten()?;
            if pid.as_raw_nonzero().get() == child {
                return Some(status);
            }
        }
    })
}

fn wait_for(
    child: i32,
    mut ended: impl FnMut() -> Option<WaitStatus>,
) -> Result<WaitStatus, LaunchError> {
    kernel::reset_signal_dispositions(true).map_err(setup::io("resetting signals"))?;
    // The child may be gone before the disposition was set.
    if let Some(status) = ended() {
        return Ok(status);
    }
    loop {
        let signal = kernel::wait_for_signal().map_err(setup::io("waiting for the program"))?;
        if signal.number == libc::SIGCHLD {
            if let Some(status) = ended() {
                return Ok(status);
            }
        } else if !signal.from_kernel {
            kernel::send_signal(child, signal.number);
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| SIGNALLED + signal))
        .unwrap_or(SIGNALLED);
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
