//! Flags of [`crate::cli::action::writing`] become a wish.

use skiff_launcher::request::writing::WritingWish;

use crate::cli::action::writing::WritingArgs;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every part of the request is built alike"
)]
pub(super) fn build(_args: &WritingArgs) -> anyhow::Result<WritingWish> {
    Ok(WritingWish::default())
}
