//! A list of the files that programs read, for `build --access-profile` and `warm --paths-from`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use skiff_fs::fuse::accesses::AccessLog;
use skiff_fs::tree::Tree;

use crate::text::os_error;

/// Names the file that the list is appended to.
pub(super) const VARIABLE: &str = "SKIFF_ACCESS_LOG";

/// The file that the user wants, which can be written to.
///
/// # Errors
/// Why it cannot be, worded for the user.
pub(super) fn wanted() -> io::Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    // The server works in another directory.
    let path = std::path::absolute(path)?;
    appended(&path)?;
    Ok(Some(path))
}

/// The list that a server writes, if it is to.
///
/// # Errors
/// As [`wanted`]; an image that cannot be read.
pub(super) fn open(tree: &dyn Tree) -> io::Result<Option<AccessLog>> {
    let Some(path) = wanted()? else {
        return Ok(None);
    };
    let log = AccessLog::new(tree, appended(&path)?);
    log.map(Some).map_err(io::Error::other)
}

fn appended(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| {
        let text = format!("${VARIABLE}: {}: {}", path.display(), os_error(&error));
        io::Error::new(error.kind(), text)
    })
}
