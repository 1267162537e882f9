//! Whether a build may write to its target.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::bail;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use crate::cli::build::TargetArgs;
use crate::prompt;
use crate::text::{go_path, os_error};

/// What every sandbox has.
const MARKS: [&str; 4] = [".singularity.d", "dev", "proc", "sys"];

/// Looks whether something can be made at `target`, before the work is done.
///
/// # Errors
/// When its directory is not there or not to be written to.
pub(super) fn check_place(target: &Path, sandbox: bool) -> anyhow::Result<()> {
    let path = go_path(target)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let access = Access::WRITE_OK | Access::EXEC_OK;
    let Err(error) = rustix::fs::accessat(CWD, parent, access, AtFlags::EACCESS) else {
        return Ok(());
    };
    let reason = os_error(&error.into());
    if sandbox {
        let what = if error == Errno::NOENT {
            "stat"
        } else {
            "mkdir"
        };
        bail!(
            "Unable to create build: failed to create build parent dir: {what} {}: {reason}",
            parent.display()
        );
    }
    bail!(
        "While performing build: while creating SIF: while creating container: open {}: {reason}",
        path.display()
    )
}

/// Whether to go on: what is at `target` may go.
///
/// # Errors
/// When it may not.
pub(super) fn check(target: &Path, args: &TargetArgs) -> anyhow::Result<bool> {
    if target.as_os_str().is_empty() {
        bail!("failed to get absolute path for \"\": path is empty");
    }
    if args.update && !args.sandbox {
        bail!("only sandbox update is supported: --sandbox flag is missing");
    }
    // A link that leads nowhere is replaced like nothing.
    let Ok(data) = target.metadata() else {
        if args.update {
            bail!(
                "could not update sandbox {}: doesn't exist",
                go_path(target)?.display()
            );
        }
        return Ok(true);
    };
    if args.update && !args.force {
        if !data.is_dir() {
            bail!(
                "only sandbox update is supported: {} is not a directory",
                target.display()
            );
        }
        return Ok(true);
    }
    if data.is_dir() && !args.force && !is_sandbox(target)? {
        bail!(
            "{} is not empty and is not an Apptainer sandbox, check its content first and use \
             --force if you want to overwrite it",
            go_path(target)?.display()
        );
    }
    if args.force {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!(
            "build target '{}' already exists. Use --force if you want to overwrite it",
            target.display()
        );
    }
    let question = format!(
        "Build target '{}' already exists and will be deleted during the build process. Do you \
         want to continue? [y/N] ",
        target.display()
    );
    Ok(matches!(prompt::line(&question)?.trim(), "y" | "Y"))
}

/// Whether a directory is a sandbox, or has nothing in it.
fn is_sandbox(directory: &Path) -> anyhow::Result<bool> {
    if std::fs::read_dir(directory)?.next().is_none() {
        return Ok(true);
    }
    Ok(MARKS
        .iter()
        .all(|mark| directory.join(mark).symlink_metadata().is_ok()))
}
