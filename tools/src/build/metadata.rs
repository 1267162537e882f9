//! What a build writes to the root itself, beside what its sections do.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::Job;
use super::stage::Made;
use crate::definition::Stage;
use crate::text::os_error;

/// Before `%setup` and `%post`.
pub(super) fn prepare(_job: &Job<'_>, _stage: &Stage, made: &Made) -> Result<(), String> {
    for d in [
        ".singularity.d/libs",
        ".singularity.d/actions",
        ".singularity.d/env",
        "dev",
        "proc",
        "root",
        "var/tmp",
        "tmp",
        "etc",
        "sys",
        "home",
    ] {
        std::fs::create_dir_all(made.root.join(d)).map_err(|e| os_error(&e))?;
    }
    for d in ["etc/hosts", "etc/resolv.conf"] {
        if !made.root.join(d).exists() {
            std::fs::write(made.root.join(d), "").map_err(|e| os_error(&e))?;
        }
    }
    Ok(())
}

/// After `%post`.
pub(super) fn insert(_job: &Job<'_>, stage: &Stage, made: &Made) -> Result<(), String> {
    if !stage.test.is_empty() {
        std::fs::write(made.root.join(".singularity.d/test"), stage.test.stored())
            .map_err(|e| os_error(&e))?;
    }
    Ok(())
}

/// Writes a file of the root anew, whatever was there.
pub(super) fn place_file(
    root: BorrowedFd<'_>,
    path: &str,
    content: &[u8],
    mode: u32,
) -> Result<(), String> {
    super::copy::place(root, Path::new(path), mode)
        .and_then(|mut file| file.write_all(content))
        .map_err(|error| format!("writing {path}: {}", os_error(&error)))
}

/// Removes a file of the root, if it is there.
pub(super) fn remove_file(root: BorrowedFd<'_>, path: &str) {
    super::copy::remove(root, Path::new(path));
}
