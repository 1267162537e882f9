//! Descriptions that travel to a holder in the place of an image file, in memory files that nobody
//! can change any more and no name leads to.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most that a description may take; credentials included it has some hundred bytes.
const MAX_BYTES: u64 = 1 << 20;

/// `value` behind the line `title`, sealed.
///
/// # Errors
/// What the system reports.
pub fn seal(title: &[u8], value: &impl Serialize) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("skiff-image", flags)?);
    file.write_all(title)?;
    serde_json::to_writer(&file, value)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

/// The value behind `title` in `file`, if that is a sealed one: no file that merely has a name can
/// be.
///
/// # Errors
/// When it cannot be read.
pub fn unseal<T: DeserializeOwned>(file: &File, title: &[u8]) -> io::Result<Option<T>> {
    let sealed = rustix::fs::fcntl_get_seals(file)
        .is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK));
    if !sealed || file.metadata()?.len() > MAX_BYTES {
        return Ok(None);
    }
    let mut content = Vec::new();
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut content)?;
    match content.strip_prefix(title) {
        Some(json) => Ok(Some(serde_json::from_slice(json)?)),
        None => Ok(None),
    }
}
