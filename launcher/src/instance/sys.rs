//! System calls that only instances need and that rustix does not offer safely.
#![allow(
    unsafe_code,
    reason = "closing descriptors that nobody owns, signals by number to a pidfd"
)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Closes every descriptor that a program started by this process would inherit, but for the
/// standard streams.
///
/// # Errors
/// When /proc does not tell which there are.
pub(super) fn close_inherited() -> io::Result<()> {
    let open: Vec<c_int> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > libc::STDERR_FILENO)
        .collect();
    for descriptor in open {
        // SAFETY: the call only asks for flags; a number without a descriptor is an error.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: all descriptors that values of this program own are close-on-exec; this one
            // was left open by whoever started it.
            unsafe { libc::close(descriptor) };
        }
    }
    Ok(())
}

/// Sends a signal to the process behind `pidfd`; 0 only asks whether it is there.
///
/// # Errors
/// The process is gone, or there is no such signal.
pub(super) fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: without information (a null pointer) the call reads no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
