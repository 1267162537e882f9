//! From the name of an image to an image.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skiff_launcher::request::{ImageRequest, RootKind};

use crate::text::os_error;

/// Transports of Apptainer that name an image elsewhere.
const TRANSPORTS: &[&str] = &[
    "docker",
    "docker-archive",
    "docker-daemon",
    "http",
    "https",
    "library",
    "oci",
    "oci-archive",
    "oras",
    "shub",
];

/// Finds the image called `name`.
///
/// # Errors
/// One line that says why there is none, worded as Apptainer does.
pub fn find(name: &OsStr) -> anyhow::Result<ImageRequest> {
    refuse_transports(name)?;
    let absolute = absolute(Path::new(name))?;
    let resolved = resolve(&absolute).map_err(|reason| could_not_open(&absolute, &reason))?;
    Ok(ImageRequest {
        kind: kind(&resolved).map_err(|reason| could_not_open(&resolved, &reason))?,
        name: absolute.file_name().unwrap_or(OsStr::new("/")).to_owned(),
        path: resolved,
    })
}

fn could_not_open(path: &Path, reason: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "While checking container encryption: could not open image {}: {reason}",
        path.display()
    )
}

fn refuse_transports(name: &OsStr) -> anyhow::Result<()> {
    let text = name.to_string_lossy();
    let Some((scheme, rest)) = text.split_once(':') else {
        return Ok(());
    };
    if TRANSPORTS.contains(&scheme) {
        anyhow::bail!("{scheme} images are not supported yet by this version of skiff: {text}");
    }
    match (scheme, rest.strip_prefix("//")) {
        ("instance", Some(_)) => {
            anyhow::bail!("instances are not supported yet by this version of skiff: {text}")
        }
        (other, Some(_)) => anyhow::bail!("Unsupported transport type: {other}"),
        _ => Ok(()),
    }
}

/// The name made absolute without following links.
///
/// # Errors
/// When the working directory is gone.
pub fn absolute(name: &Path) -> anyhow::Result<PathBuf> {
    let from = if name.is_absolute() {
        name.to_owned()
    } else {
        std::env::current_dir()
            .map_err(|error| {
                anyhow::anyhow!("could not find the working directory: {}", os_error(&error))
            })?
            .join(name)
    };
    Ok(clean(&from))
}

/// Drops `.`, `..` and doubled slashes, by the letters of the path alone.
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

/// Follows all links; on failure the reason names the component that is to blame.
///
/// # Errors
/// The reason in words.
pub fn resolve(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| {
        let blamed = path
            .ancestors()
            .filter(|ancestor| ancestor.symlink_metadata().is_err())
            .last()
            .unwrap_or(path);
        format!(
            "failed to retrieve path for {}: lstat {}: {}",
            path.display(),
            blamed.display(),
            os_error(&error)
        )
    })
}

fn kind(path: &Path) -> Result<RootKind, String> {
    let metadata = path.metadata().map_err(|error| reason(path, &error))?;
    if metadata.is_dir() {
        Ok(RootKind::Sandbox)
    } else {
        Ok(RootKind::Mounted)
    }
}

fn reason(path: &Path, error: &io::Error) -> String {
    format!("open {}: {}", path.display(), os_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn refusal(name: &str) -> String {
        refuse_transports(OsStr::new(name)).unwrap_err().to_string()
    }

    #[test]
    fn transports() {
        assert!(refuse_transports(OsStr::new("a.sif")).is_ok());
        assert!(refuse_transports(OsStr::new("foo:bar")).is_ok());
        assert_eq!(refusal("foo://bar"), "Unsupported transport type: foo");
        assert_eq!(
            refusal("DOCKER://bar"),
            "Unsupported transport type: DOCKER"
        );
        assert!(refusal("docker://bar").contains("not supported yet"));
        assert!(refusal("oci:dir").contains("not supported yet"));
        assert!(refusal("instance://x").contains("instances are not supported yet"));
    }

    #[test]
    fn missing_images() {
        let error = find(OsStr::new("/nonexistent/x.sif"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "While checking container encryption: could not open image /nonexistent/x.sif: failed \
             to retrieve path for /nonexistent/x.sif: lstat /nonexistent: no such file or directory"
        );
    }
}
