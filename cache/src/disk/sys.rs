#![allow(
    unsafe_code,
    reason = "locks of open file descriptions have no safe wrapper"
)]
//! Locks on ranges of bytes that belong to an open file description: they go with the process that
//! holds them, however it ends.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Takes the write lock on `range` of `file` if nobody has it.
pub(super) fn try_lock(file: &File, range: &Range<u64>) -> io::Result<bool> {
    match set(file, range, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives it back.
pub(super) fn unlock(file: &File, range: &Range<u64>) {
    // Closing the file would do it as well; nothing is lost when this fails.
    let _closed_later = set(file, range, libc::F_UNLCK);
}

fn set(file: &File, range: &Range<u64>, kind: libc::c_int) -> io::Result<()> {
    let number = |value: u64| libc::off_t::try_from(value).unwrap_or(libc::off_t::MAX);
    // SAFETY: a flock structure is plain numbers, for which all zeros is valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = number(range.start);
    lock.l_len = number(range.end.saturating_sub(range.start));
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and `lock` outlives the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
