//! The session tmpfs: one small file system per launch that holds generated files, empty
//! directories and the place where the root is put together.
//!
//! It is stacked over `/` of our own mount namespace, where no path leads (a walk starts below
//! what covers its root) and no other process can look; it needs no directory of the host and
//! leaves nothing behind.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::resolve;
use super::tree;

/// What the session is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryKind {
    /// tmpfs of at most so many MiB; 0 is no limit.
    Tmpfs(u64),
    /// ramfs, which knows no limits.
    Ramfs,
}

impl MemoryKind {
    /// From the two directives about it.
    pub const fn new(ramfs: bool, size_mib: u64) -> Self {
        if ramfs {
            Self::Ramfs
        } else {
            Self::Tmpfs(size_mib)
        }
    }
}

/// The mounted tmpfs.
#[derive(Debug)]
pub struct Session {
    root: OwnedFd,
    next: u32,
}

impl Session {
    /// Mounts one.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn mount(memory: MemoryKind) -> Result<Self, Errno> {
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID;
        let root = match memory {
            MemoryKind::Ramfs => tree::new_mount("ramfs", &[("mode", "0755")], flags)?,
            MemoryKind::Tmpfs(size_mib) => {
                let size = format!("{size_mib}m");
                let options = [("size", size.as_str()), ("mode", "0755")];
                tree::new_mount("tmpfs", &options, flags)?
            }
        };
        move_mount(
            &root,
            c"",
            CWD,
            c"/",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
        Ok(Self { root, next: 0 })
    }

    /// Its root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Takes it off `/` again; what was made of it lives on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn leave(self) -> Result<(), Errno> {
        rustix::process::fchdir(&self.root)?;
        rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")
    }

    /// A name not used yet.
    fn name(&mut self) -> OsString {
        self.next += 1;
        OsString::from(self.next.to_string())
    }

    /// A new empty directory, as a place.
    ///
    /// # Errors
    /// The kernel's refusal, such as a full tmpfs.
    pub fn directory(&mut self, mode: u32) -> Result<OwnedFd, Errno> {
        let name = self.name();
        let directory = resolve::make_directory(self.root.as_fd(), &name, mode)?;
        // The umask is 0 while we work, but sticky bits are not mkdir's business.
        rustix::fs::chmodat(
            self.root.as_fd(),
            &name,
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )?;
        Ok(directory)
    }

    /// A new empty directory as a tree.
    ///
    /// # Errors
    /// The kernel's refusal, such as a full tmpfs.
    pub fn directory_tree(&mut self, mode: u32) -> Result<OwnedFd, Errno> {
        let directory = self.directory(mode)?;
        tree_of(directory.as_fd())
    }

    /// A new file with this text as a tree.
    ///
    /// # Errors
    /// The kernel's refusal, such as a full tmpfs.
    pub fn file_tree(&mut self, text: &[u8]) -> Result<OwnedFd, Errno> {
        let name = self.name();
        let file = rustix::fs::openat(
            self.root.as_fd(),
            &name,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )?;
        let mut rest = text;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        tree::clone_tree(self.root.as_fd(), Path::new(&name))
    }
}

/// The tree at an open place.
///
/// # Errors
/// As `open_tree(2)`.
pub fn tree_of(place: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    open_tree(
        place,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )
}
