//! Where the program starts, and which working directories are brought into the container.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::clean;
use crate::request::LaunchRequest;

/// Where the program starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WorkingDirectory {
    /// Tried first.
    pub path: PathBuf,
    /// Tried next, each with a warning.
    pub fallbacks: Vec<PathBuf>,
}

/// Directories that are the container's own business.
const NEVER: [&str; 10] = [
    "/", "/etc", "/bin", "/mnt", "/usr", "/var", "/opt", "/sbin", "/lib", "/lib64",
];

/// Trees that are mounted anyway.
const NEVER_BELOW: [&str; 3] = ["/sys", "/proc", "/dev"];

pub(super) fn plan(request: &LaunchRequest, home: &Path) -> WorkingDirectory {
    if let Some(path) = &request.cwd {
        return WorkingDirectory {
            path: path.clone(),
            fallbacks: Vec::new(),
        };
    }
    let path = if request.contain {
        home.to_owned()
    } else {
        request.host_cwd.clone()
    };
    let mut fallbacks = vec![home.to_owned(), PathBuf::from("/")];
    fallbacks.retain(|fallback| *fallback != path);
    fallbacks.dedup();
    WorkingDirectory { path, fallbacks }
}

/// Whether a working directory may be bound into a container.
pub(super) fn may_be_mounted(path: &Path) -> bool {
    let path = clean(path);
    path.is_absolute()
        && !NEVER.iter().any(|never| path == Path::new(never))
        && !NEVER_BELOW.iter().any(|never| path.starts_with(never))
}
