//! Flags of [`crate::cli::action::identity`] become a wish.

use skiff_launcher::request::identity::IdentityWish;

use crate::cli::action::identity::IdentityArgs;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every part of the request is built alike"
)]
pub(super) fn build(_args: &IdentityArgs) -> anyhow::Result<IdentityWish> {
    Ok(IdentityWish::default())
}
