//! `build`: an image from a definition file, from one that is elsewhere, or from another format.

use std::path::Path;

use crate::build::run_definition;
use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::exit::ExitStatus;

/// `build TARGET SPEC`
///
/// # Errors
/// What failed.
pub fn run(args: &BuildArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let [target, spec] = args.words.as_slice() else {
        anyhow::bail!("build takes a target and what to build it from");
    };
    run_definition(args, Path::new(target), Path::new(spec), context)
}
