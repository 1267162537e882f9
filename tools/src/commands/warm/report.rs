//! What `warm` says: lines for a log, a line that moves on a terminal, or JSON.
//!
//! A prologue must not fail because its log is full or closed: what cannot be said is not said.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::HumanBytes;
use serde_json::{Value, json};
use skiff_fs::remote::{Event, Observer};

use crate::output::{self, Level};

/// How an image ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// All that was asked for is in the cache.
    Done,
    /// There is nothing to fetch: a file on a disk of this machine, or a directory.
    Nothing,
    /// `--max-bytes` was reached.
    Limited,
    /// The deadline passed first.
    Late,
    /// Something went wrong.
    Failed,
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Nothing => "nothing",
            Self::Limited => "limited",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// How far an image is.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// Its length, once known.
    pub(super) size: Option<u64>,
    /// Bytes that came over the network.
    pub(super) fetched: u64,
    /// Bytes of it in the cache.
    pub(super) cached: u64,
    /// Whether it is kept until it is unpinned.
    pub(super) pinned: bool,
    /// Since its turn came.
    pub(super) took: Duration,
}

/// Says it.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    terminal: bool,
    shown: Mutex<bool>,
}

/// Goes back to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

impl Report {
    /// Finds out where to.
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stderr().is_terminal() && output::shows(Level::Info),
            shown: Mutex::default(),
        }
    }

    /// Whether [`Report::progress`] shows anything.
    pub(super) fn has_progress(&self) -> bool {
        self.json || self.terminal
    }

    /// Whether it is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// The turn of an image has come.
    pub(super) fn start(&self, name: &str) {
        if self.json {
            self.event(&json!({"event": "start", "image": name}));
        }
    }

    /// How far all are.
    pub(super) fn progress(&self, done: usize, of: usize, all: &Figures) {
        if self.json {
            self.event(&json!({
                "event": "progress",
                "images_done": done,
                "images": of,
                "bytes_fetched": all.fetched,
                "seconds": seconds(all.took),
            }));
        }
        if self.terminal {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            *shown = true;
            output::stderr(&format!(
                "{CLEAR}warming: {done} of {of} images, {} fetched, {}/s",
                HumanBytes(all.fetched),
                HumanBytes(rate(all)),
            ));
        }
    }

    /// An image has ended.
    pub(super) fn end(&self, name: &str, end: End, reason: Option<&str>, figures: &Figures) {
        let failed = matches!(end, End::Failed | End::Late);
        if let (true, Some(reason)) = (failed, reason) {
            // Reasons that come from the network name what was asked for themselves.
            match reason.contains(name) {
                true => self.warning(reason),
                false => self.warning(&format!("{name}: {reason}")),
            }
        }
        if self.json {
            self.event(&json!({
                "event": "image",
                "image": name,
                "state": end.word(),
                "reason": reason,
                "size": figures.size,
                "bytes_fetched": figures.fetched,
                "bytes_cached": figures.cached,
                "pinned": figures.pinned,
                "seconds": seconds(figures.took),
            }));
            return;
        }
        let mut line = format!("{name}: ");
        match (end, reason) {
            (End::Nothing, reason) => {
                line.push_str("nothing to do");
                if let Some(reason) = reason {
                    line.push_str(&format!(": {reason}"));
                }
            }
            _ => {
                line.push_str(&format!(
                    "{} fetched in {:.1} s",
                    HumanBytes(figures.fetched),
                    figures.took.as_secs_f64()
                ));
                if let Some(size) = figures.size {
                    line.push_str(&format!(
                        ", {} of {} cached",
                        HumanBytes(figures.cached),
                        HumanBytes(size)
                    ));
                }
                if figures.pinned {
                    line.push_str(", pinned");
                }
                line.push_str(match end {
                    End::Limited => "; stopped by --max-bytes",
                    End::Late => "; stopped by the deadline",
                    End::Failed => "; incomplete",
                    End::Done | End::Nothing => "",
                });
            }
        }
        self.line(&line);
    }

    /// All is over.
    pub(super) fn summary(&self, ends: &[End], all: &Figures) {
        let count = |wanted: End| ends.iter().filter(|end| **end == wanted).count();
        if self.json {
            self.event(&json!({
                "event": "summary",
                "images": ends.len(),
                "done": count(End::Done),
                "nothing": count(End::Nothing),
                "limited": count(End::Limited),
                "late": count(End::Late),
                "failed": count(End::Failed),
                "bytes_fetched": all.fetched,
                "seconds": seconds(all.took),
            }));
        } else if ends.len() > 1 {
            let ready = count(End::Done) + count(End::Nothing);
            self.line(&format!(
                "{ready} of {} images ready, {} fetched in {:.1} s",
                ends.len(),
                HumanBytes(all.fetched),
                all.took.as_secs_f64()
            ));
        }
    }

    /// Something that does not stop us.
    pub(super) fn warning(&self, text: &str) {
        self.clear();
        output::warning(text);
    }

    /// Takes the moving line away.
    pub(super) fn clear(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *shown) {
            output::stderr(CLEAR);
        }
    }

    fn line(&self, text: &str) {
        self.clear();
        if output::shows(Level::Info) {
            output::stdout(format!("{text}\n")).unwrap_or_default();
        }
    }

    fn event(&self, event: &Value) {
        self.clear();
        output::stdout(format!("{event}\n")).unwrap_or_default();
    }
}

impl Observer for Report {
    fn event(&self, event: &Event) {
        match event {
            Event::Warning(text) => self.warning(text),
            other if output::shows(Level::Verbose) => {
                self.clear();
                output::verbose(other);
            }
            _ => {}
        }
    }
}

/// With three digits behind the point.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

fn rate(figures: &Figures) -> u64 {
    let millis = figures.took.as_millis().max(1);
    u64::try_from(u128::from(figures.fetched) * 1000 / millis).unwrap_or(u64::MAX)
}
