//! Ctrl-C ends a benchmark between two measurements, so that mounts and processes are cleaned up.

use anyhow::{Result, bail};

/// Starts noticing SIGINT and SIGTERM; children still get their default action after `execve`.
pub fn install() {
    crate::sys::catch();
}

/// Fails once a signal has arrived; called between measurements.
///
/// # Errors
/// When the benchmark was interrupted.
pub fn check() -> Result<()> {
    if crate::sys::caught() {
        bail!("interrupted");
    }
    Ok(())
}
