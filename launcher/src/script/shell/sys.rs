//! `fork`, `_exit` and descriptors by number: what a shell needs and no safe wrapper offers.
#![allow(
    unsafe_code,
    reason = "the system calls of a shell: fork, _exit, dup2 and close by number"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::process::Pid;

/// Which of the two processes this is.
pub(super) enum Forked {
    Child,
    Parent(Pid),
}

/// Splits the process. The launcher has one thread here; were there others, the child would have
/// to keep to functions that are safe then. The child uses memory, which the C library keeps usable
/// after a fork, and plain descriptors, never the buffered output of the standard library.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: fork has no memory preconditions; see above for what the child may do.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid)
            .map(Forked::Parent)
            .ok_or_else(|| io::Error::other("fork returned no process")),
    }
}

/// Ends a forked child without running anything that belongs to its parent.
pub(super) fn exit_now(status: u8) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(libc::c_int::from(status)) }
}

/// Makes `number` refer to what `descriptor` refers to, kept open across `execve`.
pub(super) fn duplicate_to(descriptor: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: dup2 reads two integers; the first is open while it is borrowed. What `number` was
    // before is saved by the caller.
    let result = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A duplicate of descriptor `number`, out of the way of scripts; `EBADF` where it is not open.
pub(super) fn save(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes integers only.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 64) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was created just now and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes descriptor `number`, which the caller opened by number or has saved.
pub(super) fn close(number: i32) {
    // SAFETY: close takes an integer; the caller vouches that no owner relies on it.
    let _status = unsafe { libc::close(number) };
}
