//! fork(2) and its kin, which have no safe wrapper.
#![allow(unsafe_code, reason = "fork, unshare and _exit have no safe form")]

use std::io;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Forks the process: `None` in the child.
///
/// Panics never cross it: callers are single-threaded (checked), so the child may do anything the
/// parent could.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    debug_assert_eq!(
        std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count),
        1,
        "fork from a process with threads"
    );
    // SAFETY: the process has one thread, so no lock can be held by a thread that the child lacks.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Leaves namespaces behind; the descriptor table is never among them.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    debug_assert!(
        !flags.contains(UnshareFlags::FILES),
        "descriptors stay shared"
    );
    // SAFETY: only an unshared descriptor table could surprise other code, and none is asked for.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Ends a forked child without running what its parent had registered for its own end.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor from `first` on. Only at the start of a process, before anything that
/// owns a descriptor exists.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no value of this process owns a descriptor yet, so none is pulled from under it.
    let result = unsafe { libc::close_range(first, libc::c_uint::MAX, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
