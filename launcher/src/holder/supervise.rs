//! Keeping a server alive whatever kills it.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::SERVER_NAME;
use crate::kernel::{self, Fork};

/// A server that lived shorter than this counts as not started.
const SHORT_LIFE: Duration = Duration::from_millis(50);

/// So does one that lived shorter than this and was not killed by somebody: it may have got as far as
/// opening the image, and dies of it, or of the first request.
const SHORT_LIFE_OF_ITS_OWN: Duration = Duration::from_secs(2);

/// Longest pause before a server that keeps dying at once is started again: readers wait that long,
/// and ten starts a second cost next to nothing.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// After so many in a row that did not start, the next one only says so to everybody.
const MAX_FAILED_STARTS: u32 = 10;

/// So it is after so many in a row that were killed before [`SHORT_LIFE_OF_ITS_OWN`] was over: somebody
/// who kills servers stops some time, a kernel that is short of memory does not.
const MAX_KILLED: u32 = 200;

/// How a server is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Start {
    /// Another server died: its requests are to be sent again.
    pub restarted: bool,
    /// Servers keep dying: this one is to answer all requests with an error, for a while, and end
    /// with a failure then. Another is tried after it.
    pub hopeless: bool,
}

/// What becomes of a server's death: the pause until the next one's start and what that one does.
/// There is none, unless servers die at once; then it doubles up to [`MAX_PAUSE`].
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    pause: Duration,
    failed: u32,
    killed: u32,
    /// The last one was there to say that there is no hope.
    was_hopeless: bool,
}

impl Restarts {
    /// Waits as long as is due after a server that lived for `life`; returns how to start the next.
    /// `killed`: by SIGKILL, which no server sends to itself.
    pub(crate) fn after(&mut self, life: Duration, killed: bool) -> Start {
        let start = self.judge(life, killed);
        std::thread::sleep(self.pause);
        start
    }

    fn judge(&mut self, life: Duration, killed: bool) -> Start {
        let short = life < SHORT_LIFE;
        let early = life < SHORT_LIFE_OF_ITS_OWN;
        // Also after one that was only to say that there is no hope: it may die as fast as the others.
        self.pause = match short {
            true => (self.pause * 2).clamp(Duration::from_millis(1), MAX_PAUSE),
            false => Duration::ZERO,
        };
        // After such a one comes one in earnest, and if that fails there is no hope again.
        if !std::mem::take(&mut self.was_hopeless) {
            self.failed = match short || (early && !killed) {
                true => self.failed.saturating_add(1),
                false => 0,
            };
            self.killed = match early && killed {
                true => self.killed.saturating_add(1),
                false => 0,
            };
            self.was_hopeless = self.failed >= MAX_FAILED_STARTS || self.killed >= MAX_KILLED;
        }
        Start {
            restarted: true,
            hopeless: self.was_hopeless,
        }
    }
}

/// Runs `serve` in a process of its own, again and again until it returns without an error: then the
/// mount is gone. For mounts without a holder's service; the caller must be single-threaded.
///
/// # Errors
/// What fork(2) or waitpid(2) report.
pub fn supervise(serve: &mut dyn FnMut(Start) -> io::Result<()>) -> io::Result<()> {
    let mut restarts = Restarts::default();
    let mut start = Start::default();
    loop {
        let started = Instant::now();
        let server = match kernel::fork()? {
            Fork::Parent(server) => server,
            Fork::Child => {
                set_name(SERVER_NAME);
                kernel::exit_now(i32::from(serve(start).is_err()));
            }
        };
        let ended = rustix::process::waitpid(Pid::from_raw(server), WaitOptions::empty())?;
        let ended = ended.map(|(_, status)| status);
        if ended.is_some_and(|status| status.exit_status() == Some(0)) {
            return Ok(());
        }
        start = restarts.after(started.elapsed(), was_killed(ended));
    }
}

/// Whether a process was ended by SIGKILL.
pub(crate) fn was_killed(status: Option<WaitStatus>) -> bool {
    let signal = status.and_then(WaitStatus::terminating_signal);
    signal == Some(Signal::KILL.as_raw())
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

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(5);
    const SOON: Duration = Duration::from_millis(500);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn servers_that_keep_dying_are_given_up_and_tried_again() {
        for (life, killed) in [(AT_ONCE, true), (AT_ONCE, false), (SOON, false)] {
            let mut restarts = Restarts::default();
            let mut next = || restarts.judge(life, killed).hopeless;
            assert!((1..MAX_FAILED_STARTS).all(|_| !next()), "too soon");
            assert!(next(), "{life:?} {killed}");
            // One in earnest after it, which fails.
            assert!(!next());
            assert!(next());
            assert!(!restarts.judge(LATE, false).hopeless);
            // That one lives, and all is well.
            assert!(!restarts.judge(LATE, false).hopeless);
            assert!(!restarts.judge(life, killed).hopeless);
        }
    }

    #[test]
    fn those_that_somebody_kills_are_started_again_for_long() {
        let mut restarts = Restarts::default();
        for _ in 1..MAX_KILLED {
            let start = restarts.judge(SOON, true);
            assert!(start.restarted && !start.hopeless);
            assert_eq!(restarts.pause, Duration::ZERO);
        }
        assert!(restarts.judge(SOON, true).hopeless, "for ever");
        assert!(!restarts.judge(LATE, false).hopeless);
        assert!(!restarts.judge(LATE, true).hopeless);
        assert!(!restarts.judge(SOON, true).hopeless);
    }

    #[test]
    fn what_dies_at_once_is_waited_for_with_or_without_hope() {
        let mut restarts = Restarts::default();
        let mut pauses = Vec::new();
        for _ in 0..4 * MAX_FAILED_STARTS {
            restarts.judge(AT_ONCE, true);
            pauses.push(restarts.pause);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.first(), Some(&Duration::from_millis(1)));
        assert!(pauses.iter().skip(8).all(|pause| *pause == MAX_PAUSE));
        restarts.judge(LATE, false);
        assert_eq!(restarts.pause, Duration::ZERO);
    }
}
