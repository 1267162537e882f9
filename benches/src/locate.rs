//! Finds the programs that are measured or needed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where peers are installed when they are not on PATH; `SKIFF_PEERS` names one more.
const PEER_DIRS: [&str; 2] = ["/opt/skiff-peers/bin", "/opt/peers/bin"];

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o001 != 0)
}

/// A program of the peers' directories, else of PATH.
pub fn peer(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("SKIFF_PEERS").map(|dir| PathBuf::from(dir).join("bin"));
    named
        .into_iter()
        .chain(PEER_DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
        .and_then(|path| path.canonicalize().ok())
        .or_else(|| system(name))
}

/// A program that every user of this machine can run: the system's directories, then PATH.
pub fn system(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(PathBuf::from)
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
}
