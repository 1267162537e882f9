#![allow(
    unsafe_code,
    reason = "fork(2), unshare(2) and waitpid(2) of a forked child"
)]
//! Runs a function in a child process, because namespaces cannot be left again.

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Read, Write};

/// Forks, calls `work` in the child and returns the bytes that it wrote.
///
/// The caller is expected to have one thread; with several, `work` must not need a lock that another
/// thread may hold (the allocators of glibc and musl survive a fork).
pub(super) fn in_child(work: impl FnOnce(&mut dyn Write)) -> io::Result<Vec<u8>> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child runs `work` and `_exit`s; it never returns into the caller's frames.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let mut pipe = File::from(writer);
            work(&mut pipe);
            drop(pipe);
            // SAFETY: ends only the forked child, without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(writer);
            let mut answer = Vec::new();
            let outcome = File::from(reader).read_to_end(&mut answer);
            reap(child);
            outcome.map(|_| answer)
        }
    }
}

fn reap(child: libc::pid_t) {
    loop {
        // SAFETY: a null status pointer is allowed.
        let done = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        if done >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Moves this process into a new user and mount namespace.
pub(super) fn unshare_user_and_mounts() -> Result<(), Errno> {
    use rustix::thread::UnshareFlags;
    // SAFETY: descriptors are not unshared, so no thread loses sight of one.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
}
