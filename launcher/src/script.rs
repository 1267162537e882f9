//! From the planned environment to the program: what an image's own scripts decide.
//!
//! Runs inside the container, after the root has been switched and before `execve`, in a process
//! with one thread. The scripts under `/.singularity.d/env` are evaluated by an interpreter of our
//! own ([`shell`]), so that a container needs no shell for `exec`.
//!
//! ```text
//! variables ─► env/*.sh ─► overrides ─► PATH specials ─► host variables back ─► prompt ─► program
//!              (image)     (§12.4)      (99-runtimevars)  (unless defined)
//! ```
//!
//! The order and the rules are Apptainer 1.4.5's; numbers in comments are those of its behaviour,
//! observed on the program.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

mod dispatch;
mod lookup;
mod oci;
mod phase;
pub(crate) mod shell;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::environment::EnvironmentPlan;
use crate::process::Start;
use crate::report::Report;
use crate::request::{Action, LaunchRequest};

/// How long a command of an environment script may run (`--runscript-timeout`).
pub const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// What the script phase needs to know, as a value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ScriptPlan {
    /// exec, run, shell or test.
    pub action: &'static str,
    /// The program's arguments; for exec, its name first.
    #[serde(serialize_with = "lossy_list")]
    pub arguments: Vec<OsString>,
    /// Prompt of shells where the image sets none.
    pub prompt: String,
    /// Longest run of a command started by an environment script.
    pub command_timeout: Duration,
    /// Variables and overrides.
    pub environment: EnvironmentPlan,
}

/// Failures that end the launch with status 255; `Display` is Apptainer's text after `FATAL:   `.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A name without a slash is in no directory of the container's `PATH`.
    #[error("{}: executable file not found in $PATH", quoted(name))]
    NotFound {
        /// The program's name.
        name: OsString,
    },
    /// A path that does not exist or cannot be looked at.
    #[error("stat {}: {reason}", path.display())]
    Stat {
        /// The path, made absolute.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// The program is a directory.
    #[error("is a directory")]
    IsDirectory {
        /// Its path.
        path: PathBuf,
    },
    /// The program has no execute permission.
    #[error("permission denied")]
    NotExecutable {
        /// Its path.
        path: PathBuf,
    },
    /// A command of a script ran longer than [`ScriptPlan::command_timeout`].
    #[error("command {command:?} was killed after {} timeout", go_duration(*limit))]
    Timeout {
        /// Its words.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// A script went beyond what the interpreter bears.
    #[error("{reason}")]
    Script {
        /// What.
        reason: String,
    },
    /// A generated runscript could not be read.
    #[error("while reading {}: {reason}", path.display())]
    ReadScript {
        /// The runscript.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
}

/// Takes from `request` what the script phase needs.
pub fn plan(request: &LaunchRequest, environment: EnvironmentPlan) -> ScriptPlan {
    let arguments = match &request.action {
        Action::Exec(words) | Action::Run(words) | Action::Test(words) | Action::Start(words) => {
            words.clone()
        }
        Action::Shell => Vec::new(),
    };
    ScriptPlan {
        action: request.action.name(),
        arguments,
        prompt: request.prompt.clone(),
        command_timeout: request
            .limits
            .command_timeout
            .unwrap_or(DEFAULT_COMMAND_TIMEOUT),
        environment,
    }
}

/// Evaluates the scripts of the image whose root is `root` (`/` in a launch) and finds the program.
///
/// The working directory must already be the program's. Messages go to `report`; what the scripts
/// print goes to the process's own output. The mask of file modes may change, because scripts may
/// call `umask`; the working directory is left as it is.
///
/// # Errors
/// [`ScriptError`], each of which ends the launch.
pub fn evaluate(
    plan: &ScriptPlan,
    root: &Path,
    report: &mut Report<'_>,
) -> Result<Start, ScriptError> {
    phase::run(plan, root, report)
}

/// Go's `%q` of a name, near enough for names that are text.
fn quoted(name: &OsStr) -> String {
    format!("{:?}", name.to_string_lossy())
}

/// A duration as Go prints it: `1m0s`, `1s`, `1.5s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = duration.subsec_millis();
    let fraction = if millis == 0 {
        String::new()
    } else {
        format!(".{millis:03}").trim_end_matches('0').to_owned()
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, _) => format!("{minutes}m{rest}{fraction}s"),
        _ => format!("{hours}h{minutes}m{rest}{fraction}s"),
    }
}

fn lossy_list<S: Serializer>(words: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(words.iter().map(|word| word.to_string_lossy()))
}
