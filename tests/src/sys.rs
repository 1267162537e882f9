//! Mapping a file into memory and asking for the memory that children used: what the standard
//! library has no safe door to.
#![allow(
    unsafe_code,
    reason = "mmap(2) and getrusage(2) have no safe interface here"
)]

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file mapped read-only. Files on the mounts under test never shrink: the images are read-only.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is read-only memory, valid until the drop, wherever it is read from.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing writes to it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of `file`; an empty file cannot be mapped.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn of(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: a fresh private mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { start, len })
    }

    /// The bytes; reading one that the file system cannot deliver raises SIGBUS.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start..start+len` is mapped readable until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one mapped in `of`, and `bytes` borrows from `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Asks the kernel to forget what it has cached of `file`, so that the next read asks the server.
///
/// # Errors
/// Those of posix_fadvise(2).
pub fn drop_cache(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(
        file,
        0,
        None,
        rustix::fs::Advice::DontNeed,
    )?)
}

/// The largest resident size, in KiB, of any child that was waited for, and of their children.
pub fn children_peak() -> u64 {
    // SAFETY: all-zero bytes are a valid rusage, a struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live rusage of ours.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    debug_assert_eq!(result, 0);
    u64::try_from(usage.ru_maxrss).unwrap_or(0)
}
