//! A program on a terminal of its own, typed at and read from.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::command::{Cmd, wait};
use crate::require::is_root;
use crate::user::ordinary;

/// The far side of a terminal and the program on it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// All that was shown and not yet taken by [`Terminal::until`].
    shown: Vec<u8>,
    transcript: Vec<u8>,
}

impl Terminal {
    /// Starts `cmd` as the leader of a session whose controlling terminal is a new one.
    ///
    /// # Errors
    /// When there is no terminal to be had.
    pub fn start(cmd: &mut Cmd) -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let user = ordinary();
        if is_root() {
            // As login(1) does, so that the program may open its terminal by name.
            rustix::fs::fchown(&theirs, Some(rustix::fs::Uid::from_raw(user.uid)), None)?;
        }
        let size = rustix::termios::Winsize {
            ws_row: 24,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&theirs, size)?;
        let child = cmd.start_on(|| theirs.try_clone().map(Stdio::from))?;
        drop(theirs);
        let keyboard = File::from(ours.try_clone()?);
        Ok(Self {
            child,
            keyboard,
            screen: reader(ours),
            shown: Vec::new(),
            transcript: Vec::new(),
        })
    }

    /// Types.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn send(&mut self, keys: &str) -> io::Result<()> {
        self.keyboard.write_all(keys.as_bytes())
    }

    /// Whether what is typed is shown.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn echoes(&self) -> io::Result<bool> {
        let modes = rustix::termios::tcgetattr(&self.keyboard)?.local_modes;
        Ok(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON))
    }

    /// Reads until `text` is shown; returns what came before it.
    ///
    /// # Errors
    /// When it does not come within 20 seconds, with all that was shown since the start.
    pub fn until(&mut self, text: &str) -> io::Result<String> {
        self.until_within(text, Duration::from_secs(20))
    }

    /// As [`Terminal::until`], with another limit.
    ///
    /// # Errors
    /// When it does not come in time, with all that was shown since the start.
    pub fn until_within(&mut self, text: &str, limit: Duration) -> io::Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self
                .shown
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(place) = found {
                let rest = self.shown.split_off(place + text.len());
                let before = std::mem::replace(&mut self.shown, rest);
                return Ok(String::from_utf8_lossy(&before[..place]).into_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => {
                    self.shown.extend_from_slice(&bytes);
                    self.transcript.extend_from_slice(&bytes);
                }
                Err(end) => {
                    let why = match end {
                        RecvTimeoutError::Timeout => "not shown in time",
                        RecvTimeoutError::Disconnected => "the terminal closed before",
                    };
                    let all = String::from_utf8_lossy(&self.transcript).into_owned();
                    return Err(io::Error::other(format!("{why}: {text:?}; shown: {all:?}")));
                }
            }
        }
    }

    /// Waits for the end; the exit code as a shell shows it.
    ///
    /// # Errors
    /// When it does not end within 20 seconds.
    pub fn end(mut self) -> io::Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let Some(status) = wait(&mut self.child, Instant::now() + Duration::from_secs(20)) else {
            let all = String::from_utf8_lossy(&self.transcript).into_owned();
            return Err(io::Error::other(format!("still running; shown: {all:?}")));
        };
        Ok(status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whatever ended well is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn reader(terminal: OwnedFd) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut terminal = File::from(terminal);
        let mut buffer = [0; 4096];
        // The far end gone shows as EIO.
        while let Ok(read) = terminal.read(&mut buffer) {
            if read == 0 || sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
