//! The two processes that wait: the one on the host that stands for a PID namespace, and process
//! 1 in it.
//!
//! Signals that a terminal key sent went to the whole foreground group, the program included;
//! only those that somebody sent to us alone are passed on.

use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};

use super::setup;
use crate::error::LaunchError;
use crate::kernel;

/// Exit code of a program that a signal killed, as shells give it.
const SIGNALLED: i32 = 128;

/// Waits for process 1 and ends as it did; signals are blocked already.
pub(super) fn outer(child: i32) -> Result<u8, LaunchError> {
    let status = wait_for(child, || {
        let child = Pid::from_raw(child)?;
        waitpid(Some(child), WaitOptions::NOHANG)
            .ok()
            .flatten()
            .map(|(_, status)| status)
    })?;
    if let Some(signal) = status.terminating_signal() {
        kernel::die_by(signal);
    }
    Ok(exit_code(status))
}

/// Is process 1: collects every dead child, and ends with the program, which ends all others.
pub(super) fn init(child: i32) -> Result<u8, LaunchError> {
    // What `ps` shows in the container; a nicety that may fail.
    rustix::thread::set_name(c"appinit").ok();
    let status = wait_for(child, || {
        loop {
            // An error says that there is no child left, which cannot be while the program runs.
            let (pid, status) = wait(WaitOptions::NOHANG).ok().flatten()?;
            if pid.as_raw_nonzero().get() == child {
                return Some(status);
            }
        }
    })?;
    Ok(exit_code(status))
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
