//! `pull`: an image that is elsewhere becomes a file here.

mod names;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::Context;
use crate::cli::build::PullArgs;
use crate::convert::options::warn_of_architecture;
use crate::convert::{self, Options, Source, Spec, events};
use crate::exit::ExitStatus;

/// `pull [FILE] NAME`
///
/// # Errors
/// What failed.
pub fn run(args: &PullArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let (file, name) = match args.words.as_slice() {
        [name] => (None, name),
        [file, name] => (Some(PathBuf::from(file)), name),
        _ => bail!("pull takes a name, and perhaps a file before it"),
    };
    if args.json {
        events::print();
    }
    let spec = spec(name)?;
    let file = file
        .or_else(|| {
            args.name
                .clone()
                .filter(|name| !name.as_os_str().is_empty())
        })
        .unwrap_or_else(|| PathBuf::from(names::of(&name.to_string_lossy())));
    let target = match args.dir.as_ref().filter(|dir| !dir.as_os_str().is_empty()) {
        // As a prefix: what is absolute stays below the directory.
        Some(dir) => dir.join(file.strip_prefix("/").unwrap_or(&file)),
        None => file,
    };
    check_target(&target, args)?;
    warn_of_architecture(&spec.source, &args.platform);
    let variables = ("PULL_ARCH", "PULL_ARCH_VARIANT");
    let options =
        Options::new(&args.remote, &args.platform, variables, context)?.for_source(&spec.source);
    let what = match &spec.source {
        Source::Oci(_) => "While making image from oci registry",
        Source::Remote(_) | Source::Local(_) => "While pulling image",
    };
    convert::pull(&spec, &options, &target, args).context(what)?;
    events::complete(&target);
    Ok(ExitStatus::Success)
}

fn spec(name: &OsStr) -> anyhow::Result<Spec> {
    if let Some(spec) = Spec::parse(name)? {
        return Ok(spec);
    }
    let text = name.to_string_lossy();
    match text.split_once("://") {
        Some((scheme, _)) => bail!("Unsupported transport type: {scheme}"),
        None => bail!("No transport type URI supplied"),
    }
}

fn check_target(target: &Path, args: &PullArgs) -> anyhow::Result<()> {
    let Ok(data) = target.symlink_metadata() else {
        return Ok(());
    };
    if !args.force {
        bail!(
            "Image file already exists: {:?} - will not overwrite",
            target.display().to_string()
        );
    }
    if data.is_dir() && !args.sandbox {
        bail!(
            "{} is a directory; a file cannot take its place",
            target.display()
        );
    }
    Ok(())
}
