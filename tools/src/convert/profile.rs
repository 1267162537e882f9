//! The order in which files are to lie, from `build --access-profile`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use skiff_fs::pack::AccessProfile;

use crate::cli::build::TargetArgs;
use crate::output;

/// Lists of paths longer than this are no lists of paths.
const MAX_BYTES: u64 = 256 << 20;

/// The profile that the flag names.
///
/// # Errors
/// A file that cannot be read, or is no list.
pub fn read(args: &TargetArgs) -> anyhow::Result<Option<Arc<AccessProfile>>> {
    let Some(path) = &args.access_profile else {
        return Ok(None);
    };
    if args.sandbox {
        output::warning("--access-profile changes nothing in a directory, only in a SIF");
    }
    let what = || format!("--access-profile {}", path.display());
    let text = text(path).with_context(what)?;
    if text.contains(&0) {
        bail!("{}: that is no list of paths", what());
    }
    let profile = AccessProfile::parse(&text);
    if profile.is_empty() {
        output::warning(format_args!("{}: there is no path in it", what()));
    }
    Ok(Some(Arc::new(profile)))
}

fn text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}
