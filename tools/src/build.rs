//! Building an image from a definition file.
//!
//! ```text
//! definition ─► for each stage: base, %files from, %setup, %files, %post, metadata, %test
//!                 │                        all of it in one room: see skiff_launcher::room
//!                 ▼
//!               root = overlay of the base, served as for a launch, and what was changed
//!                 │
//!                 ▼
//!               merge ─► squashfs in a SIF, or a directory
//! ```
//! The build's own process stays on the host and does nothing but decide, wait and clean up.

mod as_root;
mod assemble;
mod base;
mod bootstrap;
mod bundle;
mod copy;
mod listen;
mod metadata;
mod mode;
mod recipe;
mod scripts;
mod stage;
mod trust;

pub(crate) use as_root::{as_root, has_other_owners};
pub(crate) use trust::remark;

use std::path::{Path, PathBuf};

use skiff_launcher::kernel;
use skiff_launcher::room::{Build, StepError};

use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::cli::value::Strings;
use crate::convert::assemble::Manner;
use crate::definition::{self, BuildArguments, Definition, Section};
use crate::dot_singularity::SectionChoice;
use crate::encryption;
use crate::exit::ExitStatus;
use crate::launch;
use crate::output;
use crate::text::{go_path, os_error};
use bundle::Bundle;
use listen::Failure;
use mode::Mode;

/// A build under way.
pub(crate) struct Job<'a> {
    args: &'a BuildArgs,
    context: &'a Context,
    definition: &'a Definition,
    /// The definition file, as it was named.
    spec: &'a Path,
    /// What is made, without relative parts.
    target: PathBuf,
    /// As it was named.
    shown: &'a Path,
    sections: SectionChoice,
    /// How the image is made.
    manner: Manner,
    mode: Mode,
    bundle: Bundle,
    /// The caller's umask, for the image; the build has its own.
    mask: u32,
}

impl Job<'_> {
    /// A failure of `section`, with where it stands and what was being done.
    fn at(&self, section: &Section, failure: Failure) -> String {
        let Failure { reason, command } = failure;
        let file = self.spec.display();
        let line = match &command {
            Some(command) => listen::line_of(section, command),
            None => None,
        };
        match (line.unwrap_or(section.line()), command) {
            (0, _) => reason,
            (line, Some(command)) => format!("{reason} ({file}, line {line}: {command})"),
            (line, None) => format!("{reason} ({file}, line {line})"),
        }
    }
}

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
    let names: Vec<String> = words(&args.definition.section);
    let sections = SectionChoice::new(&names)?;
    let definition = read(args, spec)?;
    definition.check()?;
    let seal = encryption::seal(args, context)?;
    let config = launch::configuration(context)?;
    let mut manner = Manner::new(args.target.mksquashfs_args.as_deref())?;
    let mode = mode::choose(&args.definition, &config)?;
    manner.fix_perms = args.target.fix_perms;
    manner.seal = seal;
    manner.profile = crate::convert::profile(&args.target)?;
    manner.all_root = mode.alone;
    let shown = target;
    let target = go_path(target)?;
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o002));
    let parent = directory_for(args, context, &target)?;
    // Before there is anything to be cleaned up.
    let build = Build::begin()?;
    let bundle = Bundle::make(&parent).map_err(|error| {
        anyhow::anyhow!(
            "While performing build: could not make a directory in {}: {}",
            parent.display(),
            os_error(&error)
        )
    })?;
    let job = Job {
        args,
        context,
        definition: &definition,
        spec,
        target,
        shown,
        sections,
        manner,
        mode,
        bundle,
        mask: umask.as_raw_mode(),
    };
    let done = job.carry_out(&build);
    build.clear();
    job.clean_up(&build, done.is_err());
    build.end();
    match done {
        Ok(()) => Ok(ExitStatus::Success),
        Err(StepError::Interrupted(signal)) => {
            output::error(format_args!(
                "Build interrupted: {} was not made",
                job.shown.display()
            ));
            kernel::die_by(signal);
            Ok(ExitStatus::Fatal)
        }
        Err(error) => anyhow::bail!("While performing build: {error}"),
    }
}

fn words(given: &[Strings]) -> Vec<String> {
    Strings::flatten(given)
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

fn read(args: &BuildArgs, spec: &Path) -> anyhow::Result<Definition> {
    let given = words(&args.definition.build_arg);
    let mut warnings = Vec::new();
    let file = args.definition.build_arg_file.as_deref();
    let values = BuildArguments::new(&given, file, &mut warnings)?;
    for warning in warnings {
        output::warning(warning);
    }
    if args.definition.json {
        let failed =
            |reason: String| anyhow::anyhow!("Unable to build from {}: {reason}", spec.display());
        let text = std::fs::read_to_string(spec).map_err(|error| failed(os_error(&error)))?;
        // As Apptainer: any other is read as it is.
        if text.trim_start().starts_with('{') {
            return definition::json::parse(&text).map_err(failed);
        }
    }
    definition::read(spec, &values, args.definition.warn_unused_build_args)
}

/// Where the build's directory is made: a directory that is to become a sandbox beside that.
fn directory_for(args: &BuildArgs, context: &Context, target: &Path) -> anyhow::Result<PathBuf> {
    let parent = match target.parent() {
        Some(parent) if args.target.sandbox => parent.to_owned(),
        _ => bundle::temporary_directory(args.origin.tmpdir.as_deref(), |name| {
            context.variable(name).map(PathBuf::from)
        }),
    };
    go_path(&parent)
}

impl Job<'_> {
    fn carry_out(&self, build: &Build) -> Result<(), StepError> {
        output::info("Starting build...");
        let room = build.room(self.mode.ids.as_ref())?;
        if let Some(parent) = self.bundle.path().parent() {
            stage::inside(&room, || {
                bundle::sweep(parent);
                Ok(())
            })?;
        }
        let mut made = Vec::new();
        for stage in &self.definition.stages {
            made.push(stage::make(self, build, &room, stage, &made)?);
        }
        let last = made.pop();
        let last = last.ok_or_else(|| StepError::Failed("there is no stage".to_owned()))?;
        assemble::assemble(self, &room, &last)
    }

    /// Removes the build's directory with the rights of its root: the room is gone by now.
    fn clean_up(&self, build: &Build, failed: bool) {
        let path = self.bundle.path().display();
        if failed && self.args.target.no_cleanup {
            output::info(format_args!(
                "Build performed with no clean up option, build bundle(s) located at: [{path}]"
            ));
            return;
        }
        let removed = build
            .room(self.mode.ids.as_ref())
            .map_err(StepError::from)
            .and_then(|room| {
                stage::inside(&room, || {
                    self.bundle.remove().map_err(|error| os_error(&error))
                })
            });
        if let Err(error) = removed {
            output::warning(format_args!("Could not remove {path}: {error}"));
        }
    }
}
