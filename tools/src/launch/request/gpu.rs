//! Flags of [`crate::cli::action::gpu`] become a wish.

use skiff_launcher::request::gpu::GpuWish;

use crate::cli::action::gpu::GpuArgs;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every part of the request is built alike"
)]
pub(super) fn build(_args: &GpuArgs) -> anyhow::Result<GpuWish> {
    Ok(GpuWish::default())
}
