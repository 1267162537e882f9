//! The private directory beside the target, and how the one becomes the other.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::attributes;
use super::remove::{opened, remove};
use super::{DirectoryOptions, write_error};
use crate::beneath;
use crate::pack::{Metadata, SinkError};

const PREFIX: &str = ".skiff-build-";
const CONTENT: &CStr = c"content";
const ROOT: &CStr = c"root";

/// Directories that contents are spread over: a directory takes one new file at a time.
pub(super) const PARTS: u64 = 4;

/// The directory, which goes when this does.
#[derive(Debug)]
pub(super) struct Staging {
    target: PathBuf,
    replace: bool,
    parent: OwnedFd,
    /// Of the target, in the parent.
    name: OsString,
    own_name: CString,
    /// Open, and locked as long as it is.
    directory: OwnedFd,
    content: OwnedFd,
    pub(super) root: OwnedFd,
}

impl Staging {
    pub(super) fn create(target: &Path, replace: bool) -> Result<Self, SinkError> {
        let what = || target.display().to_string();
        let name = target.file_name().ok_or_else(|| {
            write_error(
                what(),
                io::Error::new(io::ErrorKind::InvalidInput, "it has no name"),
            )
        })?;
        let parent = match target.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        let parent_name = parent.display().to_string();
        let parent = rustix::fs::open(
            parent,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| write_error(parent_name.clone(), errno))?;
        let exists = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if exists && !replace {
            return Err(write_error(what(), Errno::EXIST));
        }
        remove_stale(&parent);
        let failed = |errno| write_error(format!("a directory in {parent_name}"), errno);
        let (own_name, directory) = new_directory(&parent).map_err(failed)?;
        let mut made = Vec::new();
        for name in [CONTENT, ROOT] {
            let opened = rustix::fs::mkdirat(&directory, name, Mode::RWXU)
                .and_then(|()| beneath::open_directory(&directory, name.to_bytes()));
            match opened {
                Ok(opened) => made.push(opened),
                Err(errno) => {
                    remove(&parent, &own_name).ok();
                    return Err(failed(errno));
                }
            }
        }
        let (Some(root), Some(content)) = (made.pop(), made.pop()) else {
            return Err(failed(Errno::IO));
        };
        for part in 0..PARTS {
            if let Err(errno) = rustix::fs::mkdirat(&content, part.to_string(), Mode::RWXU) {
                remove(&parent, &own_name).ok();
                return Err(failed(errno));
            }
        }
        Ok(Self {
            target: target.to_owned(),
            replace,
            parent,
            name: name.to_owned(),
            own_name,
            directory,
            content,
            root,
        })
    }

    /// Where content files are.
    pub(super) fn content(&self) -> &OwnedFd {
        &self.content
    }

    /// That something could not be written.
    pub(super) fn failed(&self, source: impl Into<io::Error>) -> SinkError {
        write_error(self.target.display().to_string(), source)
    }

    /// Gives the finished root its name and, last, its metadata: whoever may not write to it may not
    /// move it either.
    pub(super) fn publish(
        self,
        metadata: &Metadata,
        options: &DirectoryOptions,
    ) -> Result<(), SinkError> {
        let renamed = match self.rename() {
            // A directory that its owner may not write to cannot be moved out of the way.
            Err(Errno::ACCESS) if self.replace => {
                opened(&self.parent, self.name.as_bytes()).and_then(|_| self.rename())
            }
            other => other,
        };
        renamed.map_err(|errno| self.failed(errno))?;
        attributes::directory(&self.root, metadata, options).map_err(|errno| self.failed(errno))?;
        let old = remove(&self.parent, &self.own_name);
        if let (Err(errno), Some(warn)) = (old, &options.warn) {
            warn(&format!(
                "what was at {} before could not be removed and is in {}: {errno}",
                self.target.display(),
                self.own_name.to_string_lossy(),
            ));
        }
        Ok(())
    }

    fn rename(&self) -> Result<(), Errno> {
        let to = self.name.as_bytes();
        let rename =
            |flags| rustix::fs::renameat_with(&self.directory, ROOT, &self.parent, to, flags);
        match rename(RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if self.replace => {}
            // File systems without flags, such as NFS.
            Err(Errno::INVAL) => {
                return rename_plainly(self, to);
            }
            other => return other,
        }
        match rename(RenameFlags::EXCHANGE) {
            Err(Errno::INVAL) => rename_plainly(self, to),
            other => other,
        }
    }
}

/// A new file for content number `number`.
pub(super) fn new_content(contents: &OwnedFd, number: u64) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let name = content_name(number);
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(beneath::open(
        contents,
        name.as_bytes(),
        flags,
        mode,
        ResolveFlags::empty(),
    )?
    .into())
}

/// Where in the directory of contents it is.
pub(super) fn content_name(number: u64) -> String {
    format!("{}/{number}", number % PARTS)
}

/// Without flags: what is there is moved out of the way first.
fn rename_plainly(staging: &Staging, to: &[u8]) -> Result<(), Errno> {
    let exists = rustix::fs::statat(&staging.parent, to, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if exists && !staging.replace {
        return Err(Errno::EXIST);
    }
    if exists {
        rustix::fs::renameat(&staging.parent, to, &staging.directory, c"old")?;
    }
    let renamed = rustix::fs::renameat(&staging.directory, ROOT, &staging.parent, to);
    if renamed.is_err() && exists {
        rustix::fs::renameat(&staging.directory, c"old", &staging.parent, to)?;
    }
    renamed
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already when all went well. Nobody is left to tell otherwise; the next run tries again.
        remove(&self.parent, &self.own_name).ok();
    }
}

/// A new private directory, locked.
fn new_directory(parent: &OwnedFd) -> Result<(CString, OwnedFd), Errno> {
    for _ in 0..100 {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        match rustix::fs::mkdirat(parent, &name, Mode::RWXU) {
            Err(Errno::EXIST) => continue,
            other => other?,
        }
        let directory = beneath::open_directory(parent, name.to_bytes())?;
        let locked = lock(&directory);
        // Between the two steps another run may have taken it for a dead one's.
        let stat = rustix::fs::fstat(&directory)?;
        if locked && stat.st_nlink > 0 {
            return Ok((name, directory));
        }
    }
    Err(Errno::EXIST)
}

/// File systems without locks have no stale directories removed.
fn lock(directory: &OwnedFd) -> bool {
    !matches!(
        rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive),
        Err(Errno::WOULDBLOCK)
    )
}

/// Removes what runs have left that were killed: whatever nobody has locked.
fn remove_stale(parent: &OwnedFd) {
    let Ok(names) = beneath::names(parent) else {
        return;
    };
    for name in names {
        if !name.to_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(directory) = beneath::open_directory(parent, name.to_bytes()) else {
            continue;
        };
        let is_ours = rustix::fs::fstat(&directory)
            .is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
        let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
        if is_ours && locked.is_ok() {
            // Another run may be at it as well.
            remove(parent, &name).ok();
        }
    }
}
