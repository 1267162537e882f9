//! Building an image from a definition file.

use std::path::Path;

use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::exit::ExitStatus;

/// Builds `target` as the definition file `spec` says. That `target` may be written to has been
/// checked.
///
/// # Errors
/// One line that says what failed and where.
pub fn run_definition(
    args: &BuildArgs,
    target: &Path,
    spec: &Path,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let _ = (args, target, context);
    anyhow::bail!(
        "{}: definition files are not supported yet by this version of skiff",
        spec.display()
    )
}
