//! Flags of [`crate::cli::action::gpu`] become a wish.

use std::path::PathBuf;

use anyhow::Context as _;
use skiff_launcher::request::gpu::GpuWish;
use skiff_launcher::request::writing::WritingWish;

use super::absolute;
use crate::cli::action::gpu::GpuArgs;
use crate::cli::value::Strings;
use crate::output;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
pub(super) fn build(args: &GpuArgs) -> anyhow::Result<GpuWish> {
    let devices = Strings::flatten(&args.device)
        .map(|name| {
            let name = name.to_str().map(str::to_owned);
            name.context("--device: the name of a device is not UTF-8")
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(GpuWish {
        nvidia: args.nv,
        by_variables: args.nvccli,
        no_nvidia: args.no_nv,
        rocm: args.rocm,
        no_rocm: args.no_rocm,
        devices,
        libraries: Strings::flatten(&args.containlibs)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .map(absolute)
            .collect(),
        cdi_dirs: Strings::flatten(&args.cdi_dirs)
            .map(PathBuf::from)
            .map(absolute)
            .collect(),
    })
}

/// With nvidia-container-cli the root can be written to; scripts may count on it.
pub(super) fn imply_writable(args: &GpuArgs, writing: &mut WritingWish) {
    let is_writable = writing.writable
        || writing.writable_tmpfs
        || writing.overlays.iter().any(|layer| layer.writable);
    if args.nvccli && !is_writable {
        output::info("Setting --writable-tmpfs (required by nvidia-container-cli)");
        writing.writable_tmpfs = true;
    }
}
