//! Small matters of wording.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The system's text for an error as Go prints it: lower case, no number.
pub fn os_error(error: &std::io::Error) -> String {
    skiff_launcher::error::reason(error)
}

/// Unix seconds as Go prints a time.
pub fn go_time(seconds: i64) -> String {
    crate::commands::sif::time(seconds)
}

/// Go's `filepath.Abs`: absolute, and without `.`, `..` and doubled slashes by the letters of the
/// path alone.
///
/// # Errors
/// When the working directory is gone.
pub fn go_path(path: &Path) -> anyhow::Result<PathBuf> {
    let from = if path.is_absolute() {
        path.to_owned()
    } else {
        std::env::current_dir()
            .map_err(|error| {
                anyhow::anyhow!("could not find the working directory: {}", os_error(&error))
            })?
            .join(path)
    };
    Ok(clean(&from))
}

fn clean(path: &Path) -> PathBuf {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.as_os_str().as_bytes().split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut text = OsString::from("/");
    text.push(OsStr::from_bytes(&parts.join(&b'/')));
    PathBuf::from(text)
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors() {
        let text = |code| os_error(&std::io::Error::from_raw_os_error(code));
        assert_eq!(text(libc::ENOENT), "no such file or directory");
        assert_eq!(text(libc::EACCES), "permission denied");
        assert_eq!(text(libc::EIO), "input/output error");
    }

    #[test]
    fn cleaning() {
        for (path, expected) in [
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../a", "/a"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
