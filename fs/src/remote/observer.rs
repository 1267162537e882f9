//! What happens on the network, told to whoever shows or counts it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Is told of everything that a user may want to know. Called in the midst of requests: it must be
/// quick, and must not use the client.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

/// Something worth a line; `Display` is that line, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request failed and will be made again.
    Retrying {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
        /// How long we wait.
        pause: Duration,
    },
    /// Bytes come again.
    Recovered {
        /// What was asked for.
        url: String,
        /// How long they did not.
        after: Duration,
    },
    /// Patience ran out: the reader gets an error.
    GaveUp {
        /// What was asked for.
        url: String,
        /// What went wrong last.
        reason: String,
        /// How long it was tried.
        after: Duration,
    },
    /// The image was replaced: readers get errors from now on.
    Changed {
        /// What was asked for.
        url: String,
        /// By what it was noticed.
        what: String,
    },
    /// Something that does not stop us; told once.
    Warning(String),
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrying { url, reason, pause } => {
                write!(
                    formatter,
                    "{url}: {reason}; trying again in {}",
                    seconds(*pause)
                )
            }
            Self::Recovered { url, after } => {
                write!(formatter, "{url}: data again after {}", seconds(*after))
            }
            Self::GaveUp { url, reason, after } => {
                write!(
                    formatter,
                    "{url}: gave up after {}: {reason}",
                    seconds(*after)
                )
            }
            Self::Changed { url, what } => {
                write!(
                    formatter,
                    "{url}: the image was replaced on the server while it was in use ({what})"
                )
            }
            Self::Warning(text) => formatter.write_str(text),
        }
    }
}

/// How many different warnings are remembered as told.
const MAX_WARNINGS: usize = 256;
/// Readers that wait for the same server have the same troubles; they are told once in this time.
const QUIET: Duration = Duration::from_secs(1);

/// Speaks to an observer, without repeating itself.
pub(super) struct Voice {
    observer: Arc<dyn Observer>,
    warned: Mutex<HashSet<String>>,
    /// By URL: when its trouble was last told.
    troubles: Mutex<HashMap<String, Instant>>,
}

impl Voice {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            observer,
            warned: Mutex::default(),
            troubles: Mutex::default(),
        }
    }

    /// Tells a warning, once.
    pub(super) fn warn(&self, text: String) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < MAX_WARNINGS && warned.insert(text.clone()) {
            drop(warned);
            self.observer.event(&Event::Warning(text));
        }
    }

    pub(super) fn retrying(&self, url: &str, reason: &str, pause: Duration) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.get(url).is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        troubles.insert(url.to_owned(), Instant::now());
        drop(troubles);
        let (url, reason) = (url.to_owned(), reason.to_owned());
        self.observer.event(&Event::Retrying { url, reason, pause });
    }

    pub(super) fn recovered(&self, url: &str, after: Duration) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.remove(url).is_some() {
            drop(troubles);
            self.observer.event(&Event::Recovered {
                url: url.to_owned(),
                after,
            });
        }
    }

    pub(super) fn gave_up(&self, url: &str, reason: &str, after: Duration) {
        let (url, reason) = (url.to_owned(), reason.to_owned());
        self.observer.event(&Event::GaveUp { url, reason, after });
    }

    pub(super) fn changed(&self, url: &str, what: &str) {
        self.observer.event(&Event::Changed {
            url: url.to_owned(),
            what: what.to_owned(),
        });
    }
}

/// A time as a message tells it.
pub(super) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}
