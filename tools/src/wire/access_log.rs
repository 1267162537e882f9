//! A list of the files that programs read, for `build --access-profile` and `warm --paths-from`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use skiff_fs::fuse::accesses::AccessLog;
use skiff_fs::tree::Tree;

use crate::text::os_error;

/// Names the file that the list is appended to.
pub(super) const VARIABLE: &str = "SKIFF_ACCESS_LOG";

/// Whether the user wants one.
pub(crate) fn is_wanted() -> bool {
    named().is_some()
}

/// The file that the user wants, which can be written to.
///
/// # Errors
/// Why it cannot be, worded for the user.
pub(super) fn wanted() -> io::Result<Option<PathBuf>> {
    let Some(path) = named() else {
        return Ok(None);
    };
    // The server works in another directory.
    let path = std::path::absolute(path)?;
    appended(&path)?;
    Ok(Some(path))
}

/// The list that a server writes, if it is to and still can: programs are worth more than a list.
pub(super) fn open(tree: &dyn Tree) -> Option<AccessLog> {
    let file = appended(Path::new(&named()?)).ok()?;
    Some(AccessLog::new(tree, file))
}

fn named() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty())
}

fn appended(path: &Path) -> io::Result<File> {
    let failed = |error: io::Error| {
        let text = format!("${VARIABLE}: {}: {}", path.display(), os_error(&error));
        io::Error::new(error.kind(), text)
    };
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    // Opening a named pipe would wait for a reader.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = options.custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    Ok(file)
}
