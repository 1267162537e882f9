//! Work for a second process that may start threads: the launching one has to stay without.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::kernel::{self, Fork};

/// First byte of what the child sends.
const DONE: u8 = 0;
const FAILED: u8 = 1;

/// Runs `work` in a child of the calling process, which must have one thread, and waits for it.
///
/// # Errors
/// What `work` said, or that the child was killed.
pub fn send_out(work: impl FnOnce() -> Result<Vec<u8>, String>) -> io::Result<Vec<u8>> {
    let (from_child, to_parent) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let child = match kernel::fork()? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop(from_child);
            let (status, mut answer) = match work() {
                Ok(answer) => (DONE, answer),
                Err(reason) => (FAILED, reason.into_bytes()),
            };
            answer.insert(0, status);
            // A parent that is gone wants no answer.
            let sent = File::from(to_parent).write_all(&answer);
            kernel::exit_now(i32::from(sent.is_err()));
        }
    };
    drop(to_parent);
    let mut answer = Vec::new();
    let read = File::from(from_child).read_to_end(&mut answer);
    // Whoever ignores SIGCHLD has no children to wait for.
    let status = waitpid(Pid::from_raw(child), WaitOptions::empty()).unwrap_or(None);
    read?;
    match answer.split_first() {
        Some((&DONE, answer)) => Ok(answer.to_vec()),
        Some((_, reason)) => Err(io::Error::other(
            String::from_utf8_lossy(reason).into_owned(),
        )),
        None => {
            let signal = status.and_then(|(_, status)| status.terminating_signal());
            Err(io::Error::other(match signal {
                Some(signal) => format!("a process that was to help was killed by signal {signal}"),
                None => "a process that was to help ended without an answer".to_owned(),
            }))
        }
    }
}
