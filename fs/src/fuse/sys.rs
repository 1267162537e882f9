//! The ioctl on `/dev/fuse` that has no safe wrapper.
#![allow(unsafe_code, reason = "an ioctl has no safe form")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io;
use rustix::ioctl::{Setter, ioctl, opcode};

/// `FUSE_DEV_IOC_CLONE`: `_IOR(229, 0, uint32_t)`.
const DEV_IOC_CLONE: rustix::ioctl::Opcode = opcode::read::<u32>(229, 0);

/// Makes `new`, a freshly opened `/dev/fuse`, a second device of the connection of `device`.
pub(crate) fn clone_device(new: BorrowedFd<'_>, device: BorrowedFd<'_>) -> io::Result<()> {
    // A descriptor in use is never negative.
    let number = device.as_raw_fd().cast_unsigned();
    // SAFETY: the kernel reads one u32 through the pointer, which is what Setter passes.
    let request = unsafe { Setter::<DEV_IOC_CLONE, u32>::new(number) };
    // SAFETY: the request neither writes to memory of ours nor closes descriptors.
    unsafe { ioctl(new, request) }
}
