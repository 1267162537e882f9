//! User namespaces in which ids keep their numbers.

use std::io;

use rustix::thread::UnshareFlags;

use crate::error::{LaunchError, reason};
use crate::kernel;

/// Moves this single-threaded process into a new user namespace that maps only its own user and
/// group, each to itself, together with the other namespaces in `more`. Afterwards the process
/// holds all capabilities inside.
///
/// # Errors
/// The machine does not let this user make user namespaces, or `more` is refused.
pub fn enter_new_user_namespace(more: UnshareFlags) -> Result<(), LaunchError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let failed = |error: io::Error| LaunchError::UserNamespace {
        reason: reason(&error),
    };
    kernel::unshare(UnshareFlags::NEWUSER | more).map_err(failed)?;
    write_identity(uid, gid).map_err(failed)
}

/// Writes the maps of the user namespace just entered.
fn write_identity(uid: u32, gid: u32) -> io::Result<()> {
    // Without this the kernel refuses a group map from an ordinary user: dropping a group must not
    // become a way around "everybody but this group" permissions. The supplementary groups stay.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1\n"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1\n"))
}
