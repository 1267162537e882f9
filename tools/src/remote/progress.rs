//! One line on a terminal while a command waits for a network, and what the network reports.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use skiff_fs::remote::{Event, Observer};
use skiff_fs::source::CachedSource;

use crate::output::{self, Level};

/// Nobody wants to read of waits shorter than this.
const SILENCE: Duration = Duration::from_secs(1);

/// Between two updates of the line.
const PERIOD: Duration = Duration::from_millis(250);

/// Goes back to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Shows how far things are.
pub struct Progress {
    name: String,
    start: Instant,
    source: Mutex<Option<Arc<CachedSource>>>,
    /// Bytes that are sent instead.
    sent: Mutex<Option<Arc<AtomicU64>>>,
    shown: Mutex<bool>,
    over: AtomicBool,
}

impl Progress {
    /// Starts; nothing shows for the first second, or where there is no terminal.
    pub fn start(name: &str) -> Arc<Self> {
        let progress = Arc::new(Self {
            name: name.to_owned(),
            start: Instant::now(),
            source: Mutex::new(None),
            sent: Mutex::new(None),
            shown: Mutex::new(false),
            over: AtomicBool::new(false),
        });
        if io::stderr().is_terminal() && output::shows(Level::Info) {
            let progress = Arc::clone(&progress);
            // Without a thread there is no line, that is all.
            let _no_line = std::thread::Builder::new()
                .name("progress".into())
                .spawn(move || progress.run());
        }
        progress
    }

    /// Amount and rate are those of `source` from now on.
    pub fn follow(&self, source: Arc<CachedSource>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Amount and rate are those of bytes sent from now on.
    pub fn count(&self, sent: &Arc<AtomicU64>) {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(sent));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.over.store(true, Ordering::Release);
        self.clear();
    }

    fn run(&self) {
        std::thread::sleep(SILENCE);
        while !self.over.load(Ordering::Acquire) {
            let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = source.as_ref().map_or(0, |s| s.figures().origin.bytes);
            drop(source);
            let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = sent.as_ref().map(|sent| sent.load(Ordering::Relaxed));
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.over.load(Ordering::Acquire) {
                *shown = true;
                let line = match sent {
                    Some(bytes) => sending(&self.name, bytes, self.start),
                    None => line(&self.name, bytes, self.start),
                };
                output::stderr(&format!("{CLEAR}{line}"));
            }
            drop(shown);
            std::thread::sleep(PERIOD);
        }
    }

    fn clear(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *shown) {
            output::stderr(CLEAR);
        }
    }
}

/// What the line says of `bytes` that were sent since `start`.
fn sending(name: &str, bytes: u64, start: Instant) -> String {
    let (seconds, rate) = rate(bytes, start);
    format!(
        "pushing {name}: {seconds:.0} s, {} sent, {}/s",
        HumanBytes(bytes),
        HumanBytes(rate)
    )
}

/// What the line says of `bytes` that came since `start`.
pub(super) fn line(name: &str, bytes: u64, start: Instant) -> String {
    let (seconds, rate) = rate(bytes, start);
    format!(
        "waiting for {name}: {seconds:.0} s, {} fetched, {}/s",
        HumanBytes(bytes),
        HumanBytes(rate)
    )
}

/// Seconds since `start`, and bytes in each.
fn rate(bytes: u64, start: Instant) -> (f64, u64) {
    let seconds = start.elapsed().as_secs_f64();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate for people"
    )]
    let rate = (bytes as f64 / seconds.max(0.001)) as u64;
    (seconds, rate)
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        self.clear();
        match event {
            Event::Warning(text) => output::warning(text),
            other => output::verbose(other),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
