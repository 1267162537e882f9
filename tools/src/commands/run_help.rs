//! `run-help`: the help text that an image brings.

use std::path::Path;

use crate::cli::Context;
use crate::cli::image::RunHelpArgs;
use crate::exit::ExitStatus;
use crate::metadata::{self, Parts, Selection};
use crate::output;
use crate::remote;
use crate::text::os_error;

/// Prints it, or that there is none.
///
/// # Errors
/// When the image cannot be opened or read, or standard output cannot be written.
pub fn run(args: &RunHelpArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let image = args
        .words
        .first()
        .map_or("".as_ref(), |word| Path::new(word));
    let is_elsewhere = remote::reference(image.as_os_str())?.is_some();
    if let (false, Err(error)) = (is_elsewhere, image.metadata()) {
        anyhow::bail!(
            "container not found: stat {}: {}",
            image.display(),
            os_error(&error)
        );
    }
    let app = args.app.clone().filter(|name| !name.is_empty());
    let parts = Parts {
        helpfile: true,
        ..Parts::default()
    };
    let selection = Selection {
        parts,
        app,
        all: false,
    };
    let found = match metadata::read::of_image(image.as_os_str(), &selection, &args.remote, context)
    {
        Ok(found) => found,
        Err(error) => {
            output::fatal(format_args!("{error:#}"));
            anyhow::bail!("While getting run-help: exit status 255");
        }
    };
    let help = match &selection.app {
        Some(name) => found.apps.get(name).map(|app| app.helpfile.as_str()),
        None => Some(found.helpfile.as_str()),
    };
    let text = help
        .filter(|help| !help.is_empty())
        .unwrap_or("No help sections were defined for this image");
    output::stdout(format!("{text}\n"))?;
    Ok(ExitStatus::Success)
}
