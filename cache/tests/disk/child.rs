//! Starting processes of a test, and what they are told.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skiff_cache::disk::{Cache, Limits};

const ROLE: &str = "SKIFF_CACHE_TEST_ROLE";
const DIR: &str = "SKIFF_CACHE_TEST_DIR";
const NUMBER: &str = "SKIFF_CACHE_TEST_NUMBER";
const QUOTA: &str = "SKIFF_CACHE_TEST_QUOTA";

/// What a process is to do.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) role: String,
    /// The test's directory; the cache is `cache` in it.
    pub(crate) dir: PathBuf,
    /// Seed, count or number of a blob.
    pub(crate) number: u64,
    pub(crate) quota: u64,
}

impl Job {
    pub(crate) fn new(role: &str, dir: &Path, number: u64) -> Self {
        Self {
            role: role.to_owned(),
            dir: dir.to_owned(),
            number,
            quota: 1 << 40,
        }
    }

    pub(crate) fn from_env() -> Option<Self> {
        let get = |name| std::env::var(name).ok();
        Some(Self {
            role: get(ROLE)?,
            dir: get(DIR)?.into(),
            number: get(NUMBER)?.parse().ok()?,
            quota: get(QUOTA)?.parse().ok()?,
        })
    }

    pub(crate) fn with_quota(mut self, quota: u64) -> Self {
        self.quota = quota;
        self
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            quota: Some(self.quota),
            keep_free: Some(0),
        }
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.dir.join("cache")
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::open(&self.cache_dir(), self.limits()).unwrap()
    }

    /// Whether the test says that it is enough.
    pub(crate) fn is_over(&self) -> bool {
        self.dir.join("over").exists()
    }

    pub(crate) fn end(&self) {
        std::fs::write(self.dir.join("over"), b"").unwrap();
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, &self.role)
            .env(DIR, &self.dir)
            .env(NUMBER, self.number.to_string())
            .env(QUOTA, self.quota.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn start(&self) -> Running {
        let program = std::env::current_exe().unwrap();
        Running(self.command(&program).spawn().unwrap())
    }
}

/// After this long something hangs: far more than the slowest machine takes for any of it.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(120);

/// A process; killed when the test gives up on it.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Waits for a good end.
    pub(crate) fn finish(mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(start.elapsed() < HANGS_AFTER, "hangs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it; it must not have ended by itself.
    pub(crate) fn kill(mut self) {
        if let Some(status) = self.0.try_wait().unwrap() {
            panic!("ended by itself: {status}");
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Stops it, and waits until it stands still or has ended.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
        until("it stands still", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id()));
            // A thread that has no state any more has ended.
            tasks.unwrap().flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat"));
                let stat = stat.unwrap_or_default();
                let state = stat.rsplit_once(") ").map_or("X", |(_, state)| state);
                state.starts_with(['T', 'Z', 'X'])
            })
        });
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until `done`.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < HANGS_AFTER, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
