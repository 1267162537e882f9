//! A place of its own for skiff to run images from elsewhere in: cache, sockets, configuration.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::command::{Cmd, Outcome};
use crate::processes::{Process, all};
use crate::program;
use crate::user::{User, ordinary};

/// A folder below /tmp that belongs to the ordinary user and goes with this value.
#[derive(Debug)]
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    user: User,
}

impl Place {
    /// A fresh one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/tmp/skiff-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir(&folder).expect("fresh");
        let user = ordinary().clone();
        user.own(&folder);
        Self { folder, user }
    }

    /// Where the cache is.
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// `~/.config/containers` of whoever runs skiff here.
    pub fn containers(&self) -> PathBuf {
        self.folder.join("config/containers")
    }

    /// What skiff wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.cache().join("skiff.log")).unwrap_or_default()
    }

    /// `skiff` with these arguments; gives up on servers after some seconds.
    ///
    /// # Panics
    /// When skiff is not built.
    pub fn skiff(&self, args: &[&str]) -> Cmd {
        let mut cmd = self
            .user
            .command(program::skiff().expect("required").called("skiff"));
        cmd.cwd("/")
            .env("SKIFF_LINGER", "1")
            .env("SKIFF_RUNTIME_DIR", self.folder.join("run"))
            .env("SKIFF_CACHE_DIR", self.cache())
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("SKIFF_NETWORK_TIMEOUT", "20")
            .env("SKIFF_STALL_TIMEOUT", "2")
            .args(args);
        cmd
    }

    /// `skiff exec IMAGE ARGS...`
    ///
    /// # Panics
    /// When skiff is not built.
    pub fn exec(&self, image: &str, args: &[&str]) -> Cmd {
        let mut cmd = self.skiff(&["exec", image]);
        cmd.args(args);
        cmd
    }

    /// Holders and servers that were started here, whatever their runtime directory below.
    pub fn processes(&self) -> Vec<Process> {
        let wanted = format!("SKIFF_RUNTIME_DIR={}/", self.folder.display());
        let wanted = wanted.as_bytes();
        let here = |process: &Process| {
            std::fs::read(format!("/proc/{}/environ", process.pid)).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable.starts_with(wanted))
            })
        };
        all()
            .into_iter()
            .filter(|process| process.name.starts_with("skiff-") && here(process))
            .collect()
    }

    /// The server that answers here, if there is one.
    pub fn server(&self) -> Option<Process> {
        let mut processes = self.processes().into_iter();
        processes.find(|process| process.name == "skiff-server")
    }

    /// Waits until nothing runs here any more.
    ///
    /// # Panics
    /// When something does after half a minute.
    pub fn wait_for_the_end(&self) {
        let begin = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "still there: {left:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The files of the cache that hold bytes of images, and their indexes.
    pub fn cache_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.cache()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    _ => found.push(entry.path()),
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever still runs here after a failed test has nothing more to do. Only processes that
        // this place's own launches started are found.
        for process in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(process.pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            }
        }
        // Left over, it only takes room.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The one line that a program, or skiff for it, has to say about a failure.
///
/// # Panics
/// When there is none, or more than `most`.
pub fn error_lines(outcome: &Outcome, most: usize) -> String {
    let text = outcome.stderr_text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("ERROR:") || line.starts_with("FATAL:"))
        .collect();
    assert!(
        !lines.is_empty() && lines.len() <= most,
        "{} lines of skiff's own: {outcome}",
        lines.len()
    );
    lines.join("\n")
}

/// Copies `from` to where the user of `place` can read it.
///
/// # Panics
/// When it cannot.
pub fn copied(from: &Path, place: &Place, name: &str) -> PathBuf {
    let to = place.folder.join(name);
    std::fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    ordinary().own(&to);
    to
}
