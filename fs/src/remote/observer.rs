//! What happens on the network, told to whoever shows or counts it.

use std::fmt;
use std::time::Duration;

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

/// A time as a message tells it.
pub(super) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}
