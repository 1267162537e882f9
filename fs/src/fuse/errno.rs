//! Every error of the tree as the error number the kernel passes on.

use rustix::io::Errno;

use crate::tree::TreeError;

/// The number replied for `error`.
pub(crate) fn of(error: &TreeError) -> Errno {
    match error {
        TreeError::NotDirectory => Errno::NOTDIR,
        // The kernel asks only regular files for content; EINVAL as the kernel's own drivers give.
        TreeError::NotRegular | TreeError::NotSymlink => Errno::INVAL,
        TreeError::NoSuchNode(_) => Errno::STALE,
        TreeError::Damaged { .. } => Errno::IO,
        TreeError::Source(error) => match Errno::from_io_error(error) {
            // The file was cut or the medium is gone: never passed on as an odd number.
            None => Errno::IO,
            Some(Errno::INTR | Errno::AGAIN) => Errno::IO,
            Some(errno) => errno,
        },
    }
}
