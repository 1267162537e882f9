//! `version`: the bare number.

use crate::cli::Context;
use crate::cli::admin::WordArgs;
use crate::exit::ExitStatus;
use crate::output;

/// Prints it.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(_: &WordArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    output::stdout(format!("{}\n", context.personality.version()))?;
    Ok(ExitStatus::Success)
}
