//! Private directories that are gone again on every end, also on Ctrl-C.
//!
//! Signals that end a process are taken by a thread, which stops the program that runs, removes the
//! directories and lets the process die as it would have.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal};
use skiff_launcher::kernel;
use tempfile::TempDir;

/// How often removing is tried while the rest of the process may still put things there.
const MAX_TRIES: usize = 10;

/// Signals that end a process which does not wait for them.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

#[derive(Debug, Default)]
struct State {
    directories: Vec<PathBuf>,
    child: Option<OwnedFd>,
}

/// Watches for the end of this process.
#[derive(Clone, Debug)]
pub(super) struct Ends(Arc<Mutex<State>>);

impl Ends {
    /// Takes the signals from now on; for a process with one thread that makes no other use of them.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn watch() -> io::Result<Self> {
        let ends = Self(Arc::default());
        let ignored = ignored()?;
        // The programs that are started get a mask of their own.
        kernel::block_signals()?;
        let watcher = ends.clone();
        std::thread::Builder::new().spawn(move || {
            while let Ok(received) = kernel::wait_for_signal() {
                // Under nohup a hangup is none.
                let is_ignored = ignored >> (received.number - 1) & 1 == 1;
                if ENDING.contains(&received.number) && !is_ignored {
                    watcher.end(received.number);
                }
            }
        })?;
        Ok(ends)
    }

    /// A new directory in `place` that only this user can look into.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn scratch(&self, place: &Path) -> io::Result<Scratch> {
        // Under the lock, so that none is made unseen.
        let mut state = self.lock();
        let directory = tempfile::Builder::new()
            .prefix(".overlay-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(place)?;
        state.directories.push(directory.path().to_owned());
        Ok(Scratch(directory))
    }

    /// Has `child` stopped with this process, for as long as the answer lives.
    pub(super) fn child(&self, child: &Child) -> Watched<'_> {
        // Nobody has waited for it yet, so that the number is its own.
        self.lock().child = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        Watched(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: i32) {
        // Held to the end: nothing new is begun.
        let state = self.lock();
        if let Some(child) = &state.child {
            // It may have ended meanwhile.
            rustix::process::pidfd_send_signal(child, Signal::KILL).ok();
        }
        for directory in &state.directories {
            for _ in 0..MAX_TRIES {
                match std::fs::remove_dir_all(directory) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                    _ => break,
                }
            }
        }
        kernel::die_by(signal);
    }
}

/// A directory that goes with its value.
#[derive(Debug)]
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A program that is stopped with this process.
#[derive(Debug)]
pub(super) struct Watched<'a>(&'a Ends);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.lock().child = None;
    }
}

/// The signals that this process was told to ignore, the first in the lowest bit.
fn ignored() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let mask = text
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    Ok(mask.unwrap_or(0))
}
