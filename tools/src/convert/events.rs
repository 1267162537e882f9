//! How far a conversion is, as JSON, one object a line: for programs that wait for an image.
//!
//! `pull --json` prints them on standard output. `SKIFF_PROGRESS=json` prints those of any command on
//! standard error, where they are told from other lines by beginning with `{`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::output;

/// Asks for events when it is `json`.
pub const VARIABLE: &str = "SKIFF_PROGRESS";

/// Whether events go to standard output.
static ON_STDOUT: AtomicBool = AtomicBool::new(false);

/// One step. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// A layer or file will be read.
    Layer {
        /// Which, from 0.
        number: usize,
        /// Its digest or name.
        name: &'a str,
        /// As it is stored at its origin.
        size: u64,
    },
    /// A part of it is here.
    Fetched {
        /// Which, from 0.
        number: usize,
        /// So much in all.
        bytes: u64,
    },
    /// Content of files was put into the image.
    Written {
        /// So much in all, before it is packed.
        bytes: u64,
    },
    /// The image is there.
    Complete {
        /// Its path.
        file: &'a str,
    },
}

/// From now on events are printed on standard output.
pub fn print() {
    ON_STDOUT.store(true, Ordering::Relaxed);
}

/// Whether anybody wants events.
pub fn wanted() -> bool {
    ON_STDOUT.load(Ordering::Relaxed) || std::env::var_os(VARIABLE).is_some_and(|how| how == "json")
}

/// Tells that the image is at `path`.
pub fn complete(path: &Path) {
    let file = &*path.to_string_lossy();
    tell(&Event::Complete { file });
}

/// Tells of a step, where that is wanted.
pub fn tell(event: &Event<'_>) {
    if !wanted() {
        return;
    }
    let Ok(mut line) = serde_json::to_string(event) else {
        return;
    };
    line.push('\n');
    if ON_STDOUT.load(Ordering::Relaxed) {
        // Who reads no longer, or has no room, does not stop the work.
        output::stdout(line).unwrap_or_default();
    } else {
        output::stderr(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_objects_that_name_themselves() {
        let told = |event| serde_json::to_string(&event).expect("plain values");
        let layer = Event::Layer {
            number: 1,
            name: "sha256:00",
            size: 7,
        };
        assert_eq!(
            told(layer),
            r#"{"event":"layer","number":1,"name":"sha256:00","size":7}"#
        );
        let fetched = Event::Fetched {
            number: 1,
            bytes: 7,
        };
        assert_eq!(told(fetched), r#"{"event":"fetched","number":1,"bytes":7}"#);
    }
}
