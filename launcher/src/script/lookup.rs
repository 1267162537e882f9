//! A command's name to its file in the container.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::ScriptError;
use crate::error::reason;

/// Finds `name` as the scripts' `exec` does: with a slash it is a path from the working directory,
/// otherwise the first fitting file in the directories of `path`. Gives an absolute path inside
/// `root`.
pub(super) fn find(root: &Path, name: &[u8], path: &[u8]) -> Result<Vec<u8>, ScriptError> {
    if name.contains(&b'/') {
        let absolute = absolute(name);
        check(root, &absolute)?;
        return Ok(absolute);
    }
    for directory in path.split(|byte| *byte == b':') {
        let candidate = match directory {
            b"" | b"." => absolute(name),
            _ => absolute(&[directory, b"/", name].concat()),
        };
        if !name.is_empty() && check(root, &candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(ScriptError::NotFound {
        name: OsStr::from_bytes(name).to_os_string(),
    })
}

/// Whether a file can be started as far as its mode tells.
fn check(root: &Path, path: &[u8]) -> Result<(), ScriptError> {
    let container = PathBuf::from(OsStr::from_bytes(path));
    let metadata = fs::metadata(inside(root, &container)).map_err(|error| ScriptError::Stat {
        path: container.clone(),
        reason: reason(&error),
    })?;
    if metadata.is_dir() {
        return Err(ScriptError::IsDirectory { path: container });
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(ScriptError::NotExecutable { path: container });
    }
    Ok(())
}

/// Where `path` of the container is for this process.
pub(super) fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Absolute and without `.`, `..` and doubled slashes.
fn absolute(path: &[u8]) -> Vec<u8> {
    let directory = if path.starts_with(b"/") {
        PathBuf::new()
    } else {
        // A working directory that is gone makes every relative path one from the root.
        env::current_dir().unwrap_or_default()
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    let components = directory.as_os_str().as_bytes().split(|byte| *byte == b'/');
    for part in components.chain(path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    [b"/".as_slice(), &parts.join(b"/".as_slice())].concat()
}
