//! `buildcfg`: the constants that scripts ask for.

use crate::cli::Context;
use crate::cli::admin::WordArgs;
use crate::exit::{CommandError, ExitStatus};
use crate::output;
use crate::program::VERSION;

/// Prints all constants, or the value of the one named.
///
/// # Errors
/// When there is no such constant or standard output cannot be written.
pub fn run(args: &WordArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let constants = constants(context);
    let text = match args.words.first() {
        None => constants
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect(),
        Some(wanted) => match constants.iter().find(|(name, _)| wanted == name) {
            Some((_, value)) => format!("{value}\n"),
            None => anyhow::bail!(CommandError(format!(
                "no variable named {:?}",
                wanted.to_string_lossy()
            ))),
        },
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn constants(context: &Context) -> Vec<(&'static str, String)> {
    let directory = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|parent| parent.display().to_string()))
        .unwrap_or_default();
    vec![
        ("PACKAGE_NAME", context.personality.name().to_owned()),
        ("PACKAGE_VERSION", context.personality.version()),
        ("SKIFF_VERSION", VERSION.to_owned()),
        ("BINDIR", directory),
        ("SYSCONFDIR", "/etc".to_owned()),
        ("LOCALSTATEDIR", "/var/lib".to_owned()),
        ("APPTAINER_CONFDIR", "/etc/apptainer".to_owned()),
        (
            "APPTAINER_CONF_FILE",
            "/etc/apptainer/apptainer.conf".to_owned(),
        ),
        ("SESSIONDIR", "/var/lib/apptainer/mnt/session".to_owned()),
        ("APPTAINER_SUID_INSTALL", "0".to_owned()),
    ]
}
