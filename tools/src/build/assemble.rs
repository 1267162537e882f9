//! From the root of the last stage to the image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use skiff_fs::layers::{DirectoryLayer, Layer, TreeLayer};
use skiff_fs::pack::{Replace, put_directory};
use skiff_launcher::room::{Room, StepError};

use super::Job;
use super::base::Base;
use super::stage::{Made, inside};
use crate::convert::assemble::{Parts, sandbox, sif};
use crate::convert::{Watch, events};
use crate::dot_singularity::inspection;
use crate::metadata::arch::of_programs;
use crate::metadata::sandbox::SandboxFiles;
use crate::output;

/// Type of the kernel's overlayfs, as statfs(2) tells it (linux/magic.h).
const OVERLAYFS_MAGIC: rustix::fs::FsWord = 0x794c_7630;

/// Permissions of a SIF, less the caller's umask.
const MODE: u32 = 0o755;

/// Makes the target of the last stage.
pub(super) fn assemble(job: &Job<'_>, room: &Room<'_>, made: &Made) -> Result<(), StepError> {
    if made.updated {
        // It is there.
    } else if job.args.target.sandbox {
        output::info("Creating sandbox directory...");
        inside(room, || {
            directory(job, made).map_err(|error| format!("while creating sandbox: {error:#}"))
        })?;
    } else {
        output::info("Creating SIF file...");
        inside(room, || {
            image(job, made).map_err(|error| format!("{error:#}"))
        })?;
    }
    events::complete(job.shown);
    output::info(format_args!("Build complete: {}", job.shown.display()));
    Ok(())
}

/// What the image consists of.
fn parts(job: &Job<'_>, made: &Made) -> anyhow::Result<Parts> {
    let files = SandboxFiles::open(&made.root)?;
    let mut json = BTreeMap::from([("inspect-metadata.json".to_owned(), inspection(&files)?)]);
    if let Some(config) = &made.oci_config {
        json.insert("oci-config.json".to_owned(), config.clone());
    }
    let mut layers: Vec<Box<dyn Layer>> = vec![match &made.changes {
        Some(changes) => Box::new(upper(changes, &made.root)?),
        None => Box::new(DirectoryLayer::new(&made.root)),
    }];
    let mut arch = of_programs(&files);
    match &made.base {
        Base::Nothing => {}
        Base::Directory(path) => layers.push(Box::new(DirectoryLayer::new(path))),
        Base::Image(image) => {
            let tree = made.base.tree().map_err(anyhow::Error::msg)?;
            let tree = tree.context("ext3 images cannot be built from: make a sandbox of it")?;
            let name = image.path().display().to_string();
            layers.push(Box::new(TreeLayer::new(name, tree)));
            arch = arch.or(image.arch());
        }
    }
    Ok(Parts {
        layers,
        definition: job.definition.text.clone().into_bytes(),
        json,
        arch,
    })
}

/// The upper directory of the overlay that is mounted at `root`, whoever serves it.
fn upper(changes: &Path, root: &Path) -> anyhow::Result<DirectoryLayer> {
    let mounted = rustix::fs::statfs(root).with_context(|| root.display().to_string())?;
    let layer = DirectoryLayer::upper(changes);
    Ok(if mounted.f_type == OVERLAYFS_MAGIC {
        layer
    } else {
        layer.marked_by_names()
    })
}

fn image(job: &Job<'_>, made: &Made) -> anyhow::Result<()> {
    let parts = parts(job, made)?;
    let watch = Watch::new();
    sif(
        parts,
        &job.target,
        MODE & !job.mask,
        Replace::Yes,
        &job.manner,
        &watch,
    )
}

fn directory(job: &Job<'_>, made: &Made) -> anyhow::Result<()> {
    if made.changes.is_none() && matches!(made.base, Base::Nothing) {
        // It has been made beside its place, where the old one goes as well.
        let old = put_directory(&made.root, &job.target)
            .with_context(|| format!("putting it at {}", job.target.display()))?;
        let remove = |old: &PathBuf| match old.symlink_metadata()?.is_dir() {
            true => fs::remove_dir_all(old),
            false => fs::remove_file(old),
        };
        if let Some(Err(error)) = old.as_ref().map(remove) {
            output::warning(format_args!(
                "what was at {} before could not be removed: {error}",
                job.target.display()
            ));
        }
        return Ok(());
    }
    let parts = parts(job, made)?;
    sandbox(parts, &job.target, &job.manner, &Watch::new())
}
