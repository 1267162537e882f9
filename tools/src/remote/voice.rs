//! How a server, which has no terminal, speaks to those who wait for it.
//!
//! The kernel says which thread asks. The standard error of its process is borrowed for as long as a
//! line takes, so that nothing of the container's is kept open: a pipe ends when its writers do.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use skiff_fs::fuse::handler::{FileSystem, Witness};
use skiff_fs::remote::{Event, Observer};
use skiff_fs::source::CachedSource;
use skiff_fs::tree::TreeError;
use skiff_launcher::holder::control::Stream;

use super::RemoteImage;
use super::progress::line;
use crate::text::chain;

/// The same process is told of failures once in this time: a program that goes on after an error
/// often runs into a hundred more.
const QUIET_FOR: Duration = Duration::from_secs(10);

/// A request that waits this long is spoken of.
const PATIENCE: Duration = Duration::from_secs(1);

const PERIOD: Duration = Duration::from_millis(500);

/// The log is begun anew when it has grown to this.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// The standard errors that launches came with. A process may have something else as descriptor 2: a
/// daemon that closed what it was born with gets its data file or its socket under that number.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<HashSet<Stream>>>);

impl Streams {
    /// These, and what is added.
    pub fn new(streams: Vec<Stream>) -> Self {
        Self(Arc::new(Mutex::new(streams.into_iter().collect())))
    }

    /// One more.
    pub fn add(&self, stream: Stream) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream);
    }

    /// Whether a line of ours may be written to `stderr`: it is a terminal, or one of these.
    fn have(&self, stderr: &File) -> bool {
        let known = || {
            let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            streams.contains(&Stream::of(stderr))
        };
        stderr.is_terminal() || known()
    }
}

/// Writes failures to the standard error of whoever meets them, and to the log.
#[derive(Debug)]
pub struct Herald {
    image: PathBuf,
    streams: Streams,
    told: Mutex<HashMap<u32, Instant>>,
}

impl Herald {
    /// Speaks of the image called `image`, on terminals and on `streams`.
    pub fn new(image: &Path, streams: &Streams) -> Self {
        Self {
            image: image.to_owned(),
            streams: streams.clone(),
            told: Mutex::default(),
        }
    }

    fn may_tell(&self, pid: u32) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, when| when.elapsed() < QUIET_FOR);
        if told.contains_key(&pid) {
            return false;
        }
        told.insert(pid, Instant::now());
        true
    }
}

impl Witness for Herald {
    fn failed(&self, pid: u32, error: &TreeError) {
        if !self.may_tell(pid) {
            return;
        }
        let text = format!("ERROR:   {}: {}", self.image.display(), chain(error));
        log(&text);
        if let Some(stderr) = stderr_of(pid).filter(|stderr| self.streams.have(stderr)) {
            say(&stderr, &format!("{text}\n"));
        }
    }
}

/// Says on terminals when reads of `answers` wait for more than a second, until the server ends.
pub fn watch(answers: &Arc<FileSystem>, source: &Arc<CachedSource>, image: &Path) {
    let (answers, source) = (Arc::downgrade(answers), Arc::downgrade(source));
    let image = image.display().to_string();
    // Without a thread nobody is told, that is all.
    let _untold = std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || run(&answers, &source, &image));
}

fn run(answers: &Weak<FileSystem>, source: &Weak<CachedSource>, image: &str) {
    // Terminals with a line of ours on them: since when, and how much had come by then.
    let mut lines: HashMap<u32, (Instant, u64)> = HashMap::new();
    loop {
        std::thread::sleep(PERIOD);
        let (Some(answers), Some(source)) = (answers.upgrade(), source.upgrade()) else {
            return;
        };
        let waiting: HashMap<u32, Instant> = answers
            .waiting()
            .into_iter()
            .filter(|wait| wait.pid != 0 && wait.since.elapsed() > PATIENCE)
            .map(|wait| (wait.pid, wait.since))
            .collect();
        lines.retain(|pid, _| {
            let stays = waiting.contains_key(pid);
            if !stays {
                on_terminal(*pid, "\r\x1b[K");
            }
            stays
        });
        let bytes = source.figures().origin.bytes;
        for (pid, since) in waiting {
            let (since, before) = *lines.entry(pid).or_insert((since, bytes));
            let text = line(image, bytes.saturating_sub(before), since);
            on_terminal(pid, &format!("\r\x1b[K{text}"));
        }
    }
}

fn on_terminal(pid: u32, text: &str) {
    if let Some(stderr) = stderr_of(pid).filter(IsTerminal::is_terminal) {
        say(&stderr, text);
    }
}

/// Writes a line unless that would mean waiting: for a terminal that is stopped, or a pipe that
/// nobody empties.
fn say(mut stderr: &File, text: &str) {
    let mut ready = [PollFd::new(stderr, PollFlags::OUT)];
    if rustix::event::poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count > 0) {
        // Whoever closed it does not want to hear.
        let _closed = stderr.write_all(text.as_bytes());
    }
}

/// A descriptor for the standard error of the process that thread `tid` belongs to, if that is the
/// same user's.
///
/// The server is in the container's user namespace with all its capabilities, so the kernel gives it
/// a copy of the descriptor, whatever it leads to and whoever made it. Where it does not (Linux before
/// 5.6, a security module), the file behind it may still be opened by name.
fn stderr_of(tid: u32) -> Option<File> {
    let pid = group_of(tid)?;
    let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return None;
    }
    let copied = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty())
        .and_then(|pidfd| rustix::process::pidfd_getfd(pidfd, 2, PidfdGetfdFlags::empty()));
    if let Ok(copied) = copied {
        return Some(copied.into());
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    OpenOptions::new()
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(format!("/proc/{pid}/fd/2"))
        .ok()
}

/// The process of a thread.
fn group_of(tid: u32) -> Option<i32> {
    if tid == 0 {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// Appends to the log beside the cache: `skiff.log`.
fn log(text: &str) {
    let Some(cache) = super::own_cache().filter(skiff_cache::disk::Cache::is_writable) else {
        return;
    };
    let path = cache.dir().join("skiff.log");
    let is_long = std::fs::metadata(&path).is_ok_and(|data| data.len() > MAX_LOG_BYTES);
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path);
    if let Ok(mut file) = file {
        if is_long {
            // A log that cannot be cut only goes on growing.
            let _grows = file.set_len(0);
        }
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        // A full disk is no reason to fail.
        let _full = writeln!(file, "{seconds} [{}] {text}", std::process::id());
    }
}

/// Keeps what the network reports to the log: a server has nobody to tell.
#[derive(Debug)]
pub struct Quiet {
    image: RemoteImage,
}

impl Quiet {
    /// Hears of `image`.
    pub fn new(image: &RemoteImage) -> Self {
        Self {
            image: image.clone(),
        }
    }
}

impl Observer for Quiet {
    fn event(&self, event: &Event) {
        log(&event.to_string());
        // Whoever starts anew gets the new image.
        self.image.forget_if(matches!(event, Event::Changed { .. }));
    }
}
