//! From images in any form to SIFs and sandboxes.
//!
//! ```text
//! name ─ source ─► OCI image ── oci ──► layers ┐
//!                  local image ─ local ► layer ┼─ finish: own files over and under them
//!                                              └─► assemble ─► SIF in place, or directory
//! converted: SIFs that programs are started from without anybody having made a file of them
//! fetch: files that are images already
//! ```
//! Nothing is written but the result: layers are unpacked as they come and packed at once.

pub mod assemble;
mod base;
pub mod converted;
mod copy;
pub mod events;
mod fetch;
mod finish;
pub mod lazy;
mod local;
mod oci;
pub mod options;
mod profile;
mod pull;
pub mod source;
pub mod watch;

pub use base::{Base, Root, base};
pub use converted::Converted;
pub(crate) use fetch::temporary as download;
pub(crate) use local::oci_config;
pub use options::Options;
pub use profile::read as profile;
pub use pull::pull;
pub use source::{OciSource, Source, Spec};
pub use watch::Watch;

use std::path::Path;

use skiff_fs::image::Image;
use skiff_fs::pack::Replace;

use crate::build::{as_root, has_other_owners, remark};
use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::encryption::Seal;
use crate::output;
use assemble::{Manner, Parts};

/// Builds `target`, which may be replaced, from what `spec` names; a SIF is encrypted with `seal`.
///
/// # Errors
/// One line that says what failed.
pub fn build(
    spec: &Spec,
    options: &Options,
    target: &Path,
    args: &BuildArgs,
    seal: Option<Seal>,
    context: &Context,
) -> anyhow::Result<()> {
    let fakeroot = args.definition.fakeroot && !rustix::process::geteuid().is_root();
    let closed = match &spec.source {
        Source::Local(path) => {
            !rustix::process::geteuid().is_root() && path.is_dir() && has_other_owners(path)
        }
        Source::Oci(_) | Source::Remote(_) => false,
    };
    if !fakeroot && !closed {
        return build_here(spec, options, target, args, seal, false, context);
    }
    // Who is root only to be able to read it all does not make others owners of the image's files.
    as_root(args, context, || {
        build_here(spec, options, target, args, seal, !fakeroot, context)
    })
}

fn build_here(
    spec: &Spec,
    options: &Options,
    target: &Path,
    args: &BuildArgs,
    seal: Option<Seal>,
    all_root: bool,
    context: &Context,
) -> anyhow::Result<()> {
    let watch = Watch::new();
    let manner = Manner {
        fix_perms: args.target.fix_perms,
        all_root,
        seal,
        profile: profile(&args.target)?,
        ..Manner::new(args.target.mksquashfs_args.as_deref())?
    };
    output::info("Starting build...");
    if manner.fix_perms && matches!(spec.source, Source::Oci(_)) {
        output::warning(
            "The --fix-perms option modifies the filesystem permissions on the resulting container.",
        );
    }
    let parts = parts(spec, options, &manner, &watch, context)?;
    put(parts, target, args.target.sandbox, 0o755, &manner, &watch)?;
    events::complete(target);
    output::info(format_args!("Build complete: {}", target.display()));
    Ok(())
}

/// What the image that `spec` names consists of, once it is one of ours.
fn parts(
    spec: &Spec,
    options: &Options,
    manner: &Manner,
    watch: &Watch,
    context: &Context,
) -> anyhow::Result<Parts> {
    match &spec.source {
        Source::Oci(source) => {
            watch.info("Fetching OCI image...");
            let found = oci::find(source, options, watch)?;
            oci::parts(&found, spec, manner, watch)
        }
        Source::Local(path) => {
            let image = Image::open(path)?;
            remark(&image, &path.to_string_lossy(), context);
            local::parts(&image, spec, manner, watch)
        }
        Source::Remote(reference) => {
            let file = fetch::temporary(reference, options, watch)?;
            let name = reference.name();
            let image = Image::from_file(file, name.as_ref())?;
            remark(&image, &name, context);
            local::parts(&image, spec, manner, watch)
        }
    }
}

/// Makes a SIF or a directory of `parts`.
fn put(
    parts: Parts,
    target: &Path,
    sandbox: bool,
    mode: u32,
    manner: &Manner,
    watch: &Watch,
) -> anyhow::Result<()> {
    if sandbox {
        watch.info("Creating sandbox directory...");
        assemble::sandbox(parts, target, manner, watch)
    } else {
        watch.info("Creating SIF file...");
        assemble::sif(parts, target, mode, Replace::Yes, manner, watch)
    }
}
