//! The calls of the C library.
#![expect(
    unsafe_code,
    reason = "the C library has no safe interface to its databases"
)]

use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

/// Entries of large groups are long, but not longer than this.
const MAX_BUFFER: usize = 1 << 22;

/// Calls `look` with larger buffers until one suffices.
fn with_buffer<T>(mut look: impl FnMut(&mut [c_char]) -> Result<Option<T>, c_int>) -> Option<T> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0; size];
        match look(&mut buffer) {
            Ok(found) => return found,
            Err(libc::ERANGE) if size < MAX_BUFFER => size *= 4,
            Err(_) => return None,
        }
    }
}

pub(super) fn user(name: &CStr) -> Option<(u32, u32)> {
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: all pointers are valid for the call and the buffer's length is its own.
        let result = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        if result != 0 {
            return Err(result);
        }
        if found.is_null() {
            return Ok(None);
        }
        // SAFETY: a non-null result means that the entry was filled in.
        let entry = unsafe { entry.assume_init() };
        Ok(Some((entry.pw_uid, entry.pw_gid)))
    })
}

pub(super) fn group(name: &CStr) -> Option<u32> {
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: all pointers are valid for the call and the buffer's length is its own.
        let result = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        if result != 0 {
            return Err(result);
        }
        if found.is_null() {
            return Ok(None);
        }
        // SAFETY: a non-null result means that the entry was filled in.
        let entry = unsafe { entry.assume_init() };
        Ok(Some(entry.gr_gid))
    })
}
