//! `instance stats`.

use super::{folder_of, matching};
use crate::cli::Context;
use crate::cli::instance::StatsArgs;
use crate::exit::{CommandError, ExitStatus};
use crate::output;

/// `instance stats NAME`
///
/// # Errors
/// There is no such instance, it is another user's, or it has no control group of its own.
pub fn stats(args: &StatsArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let folder = folder_of(args.user.as_deref(), "view stats of", context)?;
    let name = args.words.first().map(|word| word.to_string_lossy());
    let found = matching(&folder, name.as_deref().unwrap_or_default(), true)?;
    let Some(live) = found.first() else {
        return Err(CommandError("no instance found".to_owned()).into());
    };
    output::info(format_args!(
        "Stats for {} instance of {} (PID={})",
        live.record.name, live.record.image, live.record.pid
    ));
    Err(CommandError(
        "stats are only available if cgroups are enabled, see the Apptainer instance user guide \
         for instructions"
            .to_owned(),
    )
    .into())
}
