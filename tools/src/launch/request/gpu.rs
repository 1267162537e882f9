//! Flags of [`crate::cli::action::gpu`] become a wish.

use std::path::PathBuf;

use anyhow::Context as _;
use skiff_launcher::request::gpu::GpuWish;

use super::absolute;
use crate::cli::action::gpu::GpuArgs;
use crate::cli::value::Strings;

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
    let devices: Vec<String> = devices;
    anyhow::ensure!(
        devices.is_empty() && !args.nvccli,
        "--device and --nvccli are not supported yet by this version of skiff"
    );
    Ok(GpuWish {
        nvidia: args.nv,
        by_variables: args.nvccli,
        no_nvidia: args.no_nv,
        rocm: args.rocm,
        no_rocm: args.no_rocm,
        devices,
        cdi_dirs: Strings::flatten(&args.cdi_dirs)
            .map(PathBuf::from)
            .map(absolute)
            .collect(),
    })
}
