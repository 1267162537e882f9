//! A file's content once more, by the file system's own means where it has some.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

/// Copies all of `from` into `to`, which is empty.
///
/// # Errors
/// What the system reports.
pub(super) fn copy(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = from.metadata()?.len();
    let (mut read, mut written) = (0, 0);
    while read < size {
        let left = usize::try_from(size - read).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // Across file systems, or where it is not known.
            Err(_) if read == 0 => return by_hand(from, to),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn by_hand(mut from: &File, mut to: &File) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    to.seek(SeekFrom::Start(0))?;
    io::copy(&mut from, &mut to)?;
    Ok(())
}
