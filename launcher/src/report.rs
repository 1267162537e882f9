//! How the launcher tells the user things: it prints nothing itself.

/// How loud a message is; the program maps it to Apptainer's levels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Only with `--debug`.
    Debug,
    /// With `--verbose`.
    Verbose,
    /// Normally.
    Info,
    /// Something was left out or is probably not what was meant.
    Warning,
    /// Something went wrong.
    Error,
}

/// Receiver of messages.
pub type Report<'a> = dyn FnMut(Level, &str) + 'a;
