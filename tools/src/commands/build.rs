//! `build`: an image from a definition file, from one that is elsewhere, or from another format.

mod target;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use skiff_fs::image::{Image, ImageError};

use crate::build::run_definition;
use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::convert::options::warn_of_architecture;
use crate::convert::{self, Options, Spec};
use crate::encryption;
use crate::exit::ExitStatus;
use crate::text::os_error;

/// The variables that stand for `--arch` and `--arch-variant`.
pub const PLATFORM_VARIABLES: (&str, &str) = ("BUILD_ARCH", "BUILD_ARCH_VARIANT");

/// `build TARGET SPEC`
///
/// # Errors
/// What failed.
pub fn run(args: &BuildArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let [target, spec] = args.words.as_slice() else {
        bail!("build takes a target and what to build it from");
    };
    let target = PathBuf::from(target);
    if !target::check(&target, &args.target).context("While checking build target")? {
        crate::output::info("Stopping: the target stays as it is");
        return Ok(ExitStatus::Fatal);
    }
    let Some(spec) = image_spec(spec)? else {
        return run_definition(args, &target, Path::new(spec), context);
    };
    if args.target.update {
        bail!(
            "--update needs a definition file, and {} is none",
            spec.name()
        );
    }
    target::check_place(&target, args.target.sandbox)?;
    warn_of_architecture(&spec.source, &args.platform);
    let options = Options::new(&args.remote, &args.platform, PLATFORM_VARIABLES, context)?
        .for_source(&spec.source);
    let seal = encryption::seal(args, context)?;
    convert::build(&spec, &options, &target, args, seal, context)
        .context("While performing build")?;
    Ok(ExitStatus::Success)
}

/// What is built from, unless it is a definition file.
fn image_spec(name: &OsStr) -> anyhow::Result<Option<Spec>> {
    if let Some(spec) = Spec::parse(name)? {
        return Ok(Some(spec));
    }
    let path = Path::new(name);
    let unable = |reason: String| {
        anyhow::anyhow!(
            "Unable to build from {0}: unable to open file {0}: open {0}: {reason}",
            path.display()
        )
    };
    match Image::open(path) {
        Ok(_) => Ok(Some(Spec::local(path))),
        Err(ImageError::NotRecognized) => Ok(None),
        Err(ImageError::Open { source, .. }) => Err(unable(os_error(&source))),
        // Something that claims to be an image.
        Err(error) => {
            Err(error).with_context(|| format!("Unable to build from {}", path.display()))
        }
    }
}
