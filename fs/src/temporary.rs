//! Where temporary files go.

use std::path::PathBuf;

/// `$APPTAINER_TMPDIR`, `$SINGULARITY_TMPDIR`, `$TMPDIR`, or /tmp; the first of the former two that
/// is set counts, unless it is empty.
pub fn directory() -> PathBuf {
    ["APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"]
        .iter()
        .find_map(std::env::var_os)
        .filter(|directory| !directory.is_empty())
        .map_or_else(std::env::temp_dir, PathBuf::from)
}
