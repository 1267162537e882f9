//! Keeping a server alive whatever kills it.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions};

use super::SERVER_NAME;
use crate::kernel::{self, Fork};

/// A server that lived shorter than this counts as not started.
const SHORT_LIFE: Duration = Duration::from_millis(50);

/// Longest pause before a server that keeps dying at once is started again: readers wait that long,
/// and ten starts a second cost next to nothing.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Pause between a server's death and the next one's start: none, unless servers die at once; then
/// it doubles up to [`MAX_PAUSE`].
#[derive(Debug, Default)]
pub(crate) struct RestartPause(Duration);

impl RestartPause {
    /// Waits as long as is due after a server that lived for `life`.
    pub(crate) fn after(&mut self, life: Duration) {
        self.0 = if life < SHORT_LIFE {
            (self.0 * 2).clamp(Duration::from_millis(1), MAX_PAUSE)
        } else {
            Duration::ZERO
        };
        std::thread::sleep(self.0);
    }
}

/// Runs `serve(restarted)` in a process of its own, again and again until it returns without an
/// error: then the mount is gone. For mounts without a holder's service; the caller must be single-threaded.
///
/// # Errors
/// What fork(2) or waitpid(2) report.
pub fn supervise(serve: &mut dyn FnMut(bool) -> io::Result<()>) -> io::Result<()> {
    let mut pause = RestartPause::default();
    let mut restarted = false;
    loop {
        let started = Instant::now();
        let server = match kernel::fork()? {
            Fork::Parent(server) => server,
            Fork::Child => {
                set_name(SERVER_NAME);
                kernel::exit_now(i32::from(serve(restarted).is_err()));
            }
        };
        let ended = rustix::process::waitpid(Pid::from_raw(server), WaitOptions::empty())?;
        if ended.is_some_and(|(_, status)| status.exit_status() == Some(0)) {
            return Ok(());
        }
        restarted = true;
        pause.after(started.elapsed());
    }
}

/// Names the process for people who look at process lists.
pub fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // Cosmetic: a process without a fitting name works as well.
        let _cosmetic = rustix::thread::set_name(&name);
    }
}

/// Splits off a process that goes on in the background, in a session of its own, away from the
/// caller's terminal and directory: `true` in it, `false` in the caller.
///
/// # Errors
/// What fork(2) or setsid(2) report.
pub fn into_background() -> io::Result<bool> {
    if kernel::fork()? != Fork::Child {
        return Ok(false);
    }
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(true)
}
