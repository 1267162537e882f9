//! Exit codes, all in one place.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success |
//! | 1 | the command line was wrong, or an administrative command failed |
//! | 255 | anything that kept a container from running: the `FATAL:` line says what |
//! | n, or a signal | what the program in the container ended with |

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// All went well.
    Success,
    /// The command line was wrong.
    Usage,
    /// A `FATAL:` line was printed.
    Fatal,
    /// A program that ran on our behalf ended with this code.
    Code(u8),
}

impl ExitStatus {
    /// The number handed to the parent process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Usage => 1,
            Self::Fatal => 255,
            Self::Code(code) => code,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// A failure that is reported like a wrong command line: `Error for command "x": …`, the usage
/// line, exit code 1. Apptainer's administrative commands (`sif …`, `buildcfg`) fail this way.
#[derive(Debug)]
pub struct CommandError(pub String);

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CommandError {}
