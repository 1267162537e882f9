//! From the arguments of an action to a running program.

pub mod image;
pub mod request;

use std::ffi::OsStr;
use std::path::PathBuf;

use skiff_launcher::request::Action;

use crate::cli::Context;
use crate::cli::action::ActionArgs;
use crate::exit::ExitStatus;

/// What an action command asks for.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The image as the user named it.
    pub image: &'a OsStr,
    /// What to start in it.
    pub action: Action,
    /// The flags.
    pub options: &'a ActionArgs,
    /// `shell --shell`.
    pub shell: Option<PathBuf>,
    /// Names and the caller's environment.
    pub context: &'a Context,
}

/// Starts it. On success the process becomes the program and this does not return, except for a
/// dry run.
///
/// # Errors
/// One line that says what kept the program from starting.
pub fn launch(wish: &Launch<'_>) -> anyhow::Result<ExitStatus> {
    let image = image::find(wish.image)?;
    let request = request::build(wish, image.request)?;
    anyhow::bail!(
        "starting {} is not supported yet by this version of skiff",
        request.image.path.display()
    );
}
