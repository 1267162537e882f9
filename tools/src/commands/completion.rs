//! `completion`: scripts that let a shell complete our command lines.

use clap_complete::{Shell, generate};

use crate::cli::Context;
use crate::cli::admin::WordArgs;
use crate::exit::{CommandError, ExitStatus};
use crate::output;

/// Prints the script for the shell named by the only word.
///
/// # Errors
/// When the shell is not known or standard output cannot be written.
pub fn run(args: &WordArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let name = args
        .words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    let shell = match name.as_deref() {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        Some("powershell") => Shell::PowerShell,
        Some(other) => anyhow::bail!(CommandError(format!(
            "unknown shell {other:?}: bash, zsh and fish are known"
        ))),
        None => anyhow::bail!(CommandError("name a shell: bash, zsh or fish".to_owned())),
    };
    let program = context.personality.name();
    let mut script = Vec::new();
    generate(
        shell,
        &mut crate::commands::tree(program),
        program,
        &mut script,
    );
    output::stdout(script)?;
    Ok(ExitStatus::Success)
}
