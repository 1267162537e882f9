//! Images and directories whose files belong to several owners, made and read by an ordinary user.

use std::fs::DirEntry;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use skiff_launcher::kernel;
use skiff_launcher::room::{Build, StepError};

use super::mode;
use super::stage::inside;
use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::launch;

/// Whether something in `directory` belongs to another user than the caller, such as what a package
/// manager made in a sandbox under `--fakeroot`. What cannot be looked into belongs to somebody else.
pub(crate) fn has_other_owners(directory: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let is_foreign = |entry: &DirEntry| {
        let path = entry.path();
        path.symlink_metadata().map_or(true, |metadata| {
            metadata.uid() != own || (metadata.is_dir() && has_other_owners(&path))
        })
    };
    std::fs::read_dir(directory).map_or(true, |entries| {
        entries.flatten().any(|entry| is_foreign(&entry))
    })
}

/// Does `work` as root of a user namespace with the caller's subordinate ids, in a child that may have
/// threads; as the caller where there are none, or for root.
///
/// # Errors
/// Those of `work`, in words.
pub(crate) fn as_root(
    args: &BuildArgs,
    context: &Context,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config = launch::configuration(context)?;
    let found = mode::choose(&args.definition, &config);
    let Some(ids) = found
        .ok()
        .filter(|mode| !mode.alone)
        .and_then(|mode| mode.ids)
    else {
        return work();
    };
    let build = Build::begin()?;
    let done = build
        .room(Some(&ids))
        .map_err(StepError::from)
        .and_then(|room| inside(&room, || work().map_err(|error| format!("{error:#}"))));
    build.clear();
    build.end();
    match done {
        Ok(()) => Ok(()),
        Err(StepError::Interrupted(signal)) => {
            kernel::die_by(signal);
            Err(StepError::Interrupted(signal).into())
        }
        Err(error) => anyhow::bail!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/file"), "x").unwrap();
        assert!(!has_other_owners(folder.path()));
        assert!(has_other_owners(Path::new("/nonexistent")));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path().join("inner/file"), Some(7), None).unwrap();
            assert!(has_other_owners(folder.path()));
        }
    }
}
