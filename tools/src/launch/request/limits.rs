//! Flags of [`crate::cli::action::limits`] become a wish.

use skiff_launcher::request::limits::LimitsWish;

use crate::cli::action::limits::LimitsArgs;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every part of the request is built alike"
)]
pub(super) fn build(_args: &LimitsArgs) -> anyhow::Result<LimitsWish> {
    Ok(LimitsWish::default())
}
