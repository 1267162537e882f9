//! The only door to the terminal: log lines on stderr, results on stdout.
//!
//! Levels are Apptainer's: a line is printed when its level is not above the set one.
//!
//! | level | lines | set by |
//! |---|---|---|
//! | -4 | fatal | |
//! | -3 | error | `--silent` |
//! | -2 | warning | |
//! | -1 | | `--quiet` |
//! | 1 | info | default |
//! | 4 | verbose | `--verbose` |
//! | 5 | debug | `--debug` |

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicI8, Ordering};

/// Importance of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i8)]
pub enum Level {
    /// Nothing can go on.
    Fatal = -4,
    /// Something went wrong.
    Error = -3,
    /// Something is probably not what was meant.
    Warning = -2,
    /// Worth knowing.
    Info = 1,
    /// Steps.
    Verbose = 4,
    /// Everything.
    Debug = 5,
}

/// Shown up to here; the levels of the table in the module's header.
static THRESHOLD: AtomicI8 = AtomicI8::new(Level::Info as i8);
static PLAIN: AtomicBool = AtomicBool::new(false);

impl Level {
    /// Word and terminal colour.
    const fn dress(self) -> (&'static str, &'static str) {
        match self {
            Self::Fatal => ("FATAL", "31"),
            Self::Error => ("ERROR", "31"),
            Self::Warning => ("WARNING", "33"),
            Self::Info => ("INFO", "34"),
            Self::Verbose => ("VERBOSE", ""),
            Self::Debug => ("DEBUG", ""),
        }
    }
}

/// The wishes that decide what is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Loudness {
    /// Level 5.
    pub debug: bool,
    /// Level 4.
    pub verbose: bool,
    /// Level -1.
    pub quiet: bool,
    /// Level -3.
    pub silent: bool,
    /// No colours.
    pub plain: bool,
}

impl Loudness {
    /// The level, where `message_level` is the value of `APPTAINER_MESSAGELEVEL`. Only numbers
    /// above the default have an effect there, and the flags come first, as in Apptainer 1.4.
    pub fn threshold(self, message_level: Option<&str>) -> i8 {
        if self.debug {
            5
        } else if self.verbose {
            4
        } else if self.silent {
            -3
        } else if self.quiet {
            -1
        } else {
            message_level
                .and_then(|text| text.trim().parse::<i8>().ok())
                .map_or(Level::Info as i8, |level| level.clamp(Level::Info as i8, 5))
        }
    }

    /// Makes it so for the whole process.
    pub fn apply(self, message_level: Option<&str>) {
        THRESHOLD.store(self.threshold(message_level), Ordering::Relaxed);
        PLAIN.store(self.plain, Ordering::Relaxed);
    }
}

/// Whether lines of `level` are shown; to save the work of making them.
pub fn shows(level: Level) -> bool {
    level as i8 <= THRESHOLD.load(Ordering::Relaxed)
}

/// The level in force, as a number.
pub fn threshold() -> i8 {
    THRESHOLD.load(Ordering::Relaxed)
}

/// Prints one log line to stderr.
pub fn log(level: Level, message: Arguments<'_>) {
    if !shows(level) {
        return;
    }
    let colour = !PLAIN.load(Ordering::Relaxed) && io::stderr().is_terminal();
    let identity = (threshold() >= Level::Debug as i8).then(|| {
        (
            rustix::process::getuid().as_raw(),
            rustix::process::getpid().as_raw_pid(),
        )
    });
    let mut line = prefix(level, colour, identity);
    line.push_str(&format!("{message}\n"));
    // One write call, so that lines of several processes do not mix.
    stderr(&line);
}

/// Columns that the word takes, and those before the message at the debug level.
const WORD_COLUMNS: usize = 8;
const IDENTITY_COLUMNS: usize = 19;

fn prefix(level: Level, colour: bool, identity: Option<(u32, i32)>) -> String {
    let (word, paint) = level.dress();
    let mut label = match identity {
        Some(_) => format!("{word:<WORD_COLUMNS$}"),
        None => format!("{:<WORD_COLUMNS$}", format!("{word}:")),
    };
    if colour && !paint.is_empty() {
        label = format!("\x1b[{paint}m{label}\x1b[0m");
    }
    match identity {
        Some((uid, pid)) => {
            format!("{label}{:<IDENTITY_COLUMNS$}", format!("[U={uid},P={pid}]"))
        }
        None => format!("{label} "),
    }
}

/// Prints a `FATAL:` line.
pub fn fatal(message: impl std::fmt::Display) {
    log(Level::Fatal, format_args!("{message}"));
}

/// Prints an `ERROR:` line.
pub fn error(message: impl std::fmt::Display) {
    log(Level::Error, format_args!("{message}"));
}

/// Prints a `WARNING:` line.
pub fn warning(message: impl std::fmt::Display) {
    log(Level::Warning, format_args!("{message}"));
}

/// Prints an `INFO:` line.
pub fn info(message: impl std::fmt::Display) {
    log(Level::Info, format_args!("{message}"));
}

/// Prints a `VERBOSE:` line.
pub fn verbose(message: impl std::fmt::Display) {
    log(Level::Verbose, format_args!("{message}"));
}

/// Prints a `DEBUG` line.
pub fn debug(message: impl std::fmt::Display) {
    log(Level::Debug, format_args!("{message}"));
}

/// Writes unadorned text to stderr: the `Error for command …` lines.
pub fn stderr(text: &str) {
    // A closed stderr leaves nobody to tell.
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// Writes `bytes` to stdout. A reader that went away is not an error: whoever wrote `| head` has
/// seen what they wanted.
///
/// # Errors
/// What the system reports, such as a full disk.
pub fn stdout(bytes: impl AsRef<[u8]>) -> io::Result<()> {
    stdout_goes_on(bytes).map(|_| ())
}

/// As [`stdout`]; tells whether there is a reader for more.
///
/// # Errors
/// What the system reports, such as a full disk.
pub fn stdout_goes_on(bytes: impl AsRef<[u8]>) -> io::Result<bool> {
    let mut stream = io::stdout().lock();
    match stream
        .write_all(bytes.as_ref())
        .and_then(|()| stream.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_nine_columns_wide() {
        for (level, expected) in [
            (Level::Fatal, "FATAL:   "),
            (Level::Error, "ERROR:   "),
            (Level::Warning, "WARNING: "),
            (Level::Info, "INFO:    "),
            (Level::Verbose, "VERBOSE: "),
        ] {
            assert_eq!(prefix(level, false, None), expected);
        }
    }

    #[test]
    fn colour_ends_before_the_padding() {
        assert_eq!(prefix(Level::Info, true, None), "\x1b[34mINFO:   \x1b[0m ");
    }

    #[test]
    fn debug_names_the_process() {
        assert_eq!(
            prefix(Level::Debug, false, Some((1001, 7))),
            "DEBUG   [U=1001,P=7]       "
        );
    }

    #[test]
    fn thresholds() {
        let none = Loudness::default();
        assert_eq!(none.threshold(None), 1);
        assert_eq!(none.threshold(Some("-4")), 1);
        assert_eq!(none.threshold(Some("noise")), 1);
        assert_eq!(none.threshold(Some("4")), 4);
        assert_eq!(none.threshold(Some("99")), 5);
        assert_eq!(
            Loudness {
                quiet: true,
                debug: true,
                ..none
            }
            .threshold(None),
            5
        );
        assert_eq!(
            Loudness {
                quiet: true,
                ..none
            }
            .threshold(Some("5")),
            -1
        );
    }
}
