//! A directory of the host as a layer: a sandbox, or what an overlay has collected.
//!
//! Names are listed in their order, so that the same directory always makes the same image. No link
//! is followed on the way, whoever changes things meanwhile: every directory is opened from the root
//! by a path that may have none.

mod content;
#[cfg(test)]
mod tests;
mod upper;

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::entry::{Entry, EntryKind, Layer, LayerError, Visit};
use super::tar::shown;
use crate::beneath;
use crate::pack::{Metadata, Xattr};
use upper::Meaning;

/// What a directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Files that mean themselves.
    Plain,
    /// The upper directory of an overlay, with whiteouts.
    Upper,
}

/// All that a directory of the host has.
#[derive(Debug)]
pub struct DirectoryLayer {
    name: String,
    path: PathBuf,
    kind: Kind,
    /// Names that begin with `.wh.` are whiteouts.
    marked_by_names: bool,
    one_file_system: bool,
}

impl DirectoryLayer {
    /// The files below `path`, a sandbox.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: path.display().to_string(),
            path,
            kind: Kind::Plain,
            marked_by_names: false,
            one_file_system: false,
        }
    }

    /// What is different from lower layers, as the kernel's overlayfs keeps it at `path`.
    pub fn upper(path: impl Into<PathBuf>) -> Self {
        Self {
            kind: Kind::Upper,
            ..Self::new(path)
        }
    }

    /// It is fuse-overlayfs that keeps it: names that begin with `.wh.` are whiteouts. To the kernel
    /// they are names as others.
    #[must_use]
    pub fn marked_by_names(mut self) -> Self {
        self.marked_by_names = true;
        self
    }

    /// Takes what is mounted below for empty directories.
    #[must_use]
    pub fn one_file_system(mut self) -> Self {
        self.one_file_system = true;
        self
    }
}

impl Layer for DirectoryLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn visit(&mut self, visit: &mut Visit<'_>) -> Result<(), LayerError> {
        let root = open_root(&self.path).map_err(|errno| LayerError::Read {
            layer: self.name.clone(),
            source: errno.into(),
        })?;
        let mut walk = Walk {
            layer: self,
            root,
            named: HashMap::new(),
            none: Arc::from([]),
        };
        // Directories still to be gone through, the next one last.
        let mut rest = vec![Vec::new()];
        while let Some(path) = rest.pop() {
            let below = walk.directory(&path, visit)?;
            rest.extend(below.into_iter().rev());
        }
        Ok(())
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// One walk through the directory.
struct Walk<'a> {
    layer: &'a DirectoryLayer,
    root: OwnedFd,
    /// First names of files that have several.
    named: HashMap<(u64, u64), Vec<u8>>,
    none: Arc<[Xattr]>,
}

impl Walk<'_> {
    fn wrong(&self, path: &[u8], reason: impl Into<String>) -> LayerError {
        LayerError::Entry {
            layer: self.layer.name.clone(),
            path: shown(path),
            reason: reason.into(),
        }
    }

    fn unreadable(&self, path: &[u8], errno: Errno) -> LayerError {
        let path = if path.is_empty() { b"." } else { path };
        self.wrong(path, format!("cannot be read: {}", io::Error::from(errno)))
    }

    fn resolve(&self) -> ResolveFlags {
        if self.layer.one_file_system {
            ResolveFlags::NO_XDEV
        } else {
            ResolveFlags::empty()
        }
    }

    /// Tells of a directory and of all in it that is none; the paths of those that are.
    fn directory(
        &mut self,
        path: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<Vec<Vec<u8>>, LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = beneath::open(&self.root, path, flags, Mode::empty(), self.resolve());
        let (directory, mounted) = match opened {
            Ok(directory) => (directory, false),
            Err(Errno::XDEV) if self.layer.one_file_system => (
                beneath::open_directory(&self.root, path)
                    .map_err(|errno| self.unreadable(path, errno))?,
                true,
            ),
            Err(errno) => return Err(self.unreadable(path, errno)),
        };
        let failed = |errno| self.unreadable(path, errno);
        let stat = rustix::fs::fstat(&directory).map_err(failed)?;
        let xattrs = beneath::xattrs(&directory).map_err(failed)?;
        let opaque = self.layer.kind == Kind::Upper
            && upper::is_opaque(&xattrs).map_err(|reason| self.wrong(path, reason))?;
        let metadata = self.metadata(&stat, xattrs);
        let entry = |kind| Entry {
            path: path.to_vec(),
            kind,
            metadata: metadata.clone(),
        };
        visit(entry(EntryKind::Directory), &mut io::empty())?;
        if opaque {
            visit(entry(EntryKind::Opaque), &mut io::empty())?;
        }
        let mut below = Vec::new();
        if mounted {
            return Ok(below);
        }
        for name in beneath::names(&directory).map_err(|errno| self.unreadable(path, errno))? {
            let mut path = path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            if self.file(&directory, &name, &path, visit)? {
                below.push(path);
            }
        }
        Ok(below)
    }

    /// Tells of one name, unless it is a directory's: then `true`.
    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<bool, LayerError> {
        let failed = |errno| self.unreadable(path, errno);
        let stat =
            rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Ok(true);
        }
        if self.layer.kind == Kind::Upper {
            match upper::by_name(path, &stat, self.layer.marked_by_names) {
                Meaning::Itself => {}
                Meaning::Hidden(path, kind) => {
                    let metadata = Metadata::default();
                    let entry = Entry {
                        path,
                        kind,
                        metadata,
                    };
                    visit(entry, &mut io::empty())?;
                    return Ok(false);
                }
                Meaning::Nothing => return Ok(false),
            }
        }
        if stat.st_nlink > 1 {
            #[allow(
                clippy::useless_conversion,
                reason = "their types differ between processors"
            )]
            let inode = (u64::from(stat.st_dev), u64::from(stat.st_ino));
            if let Some(first) = self.named.get(&inode) {
                let entry = Entry {
                    path: path.to_vec(),
                    kind: EntryKind::HardLink {
                        target: first.clone(),
                    },
                    metadata: Metadata::default(),
                };
                visit(entry, &mut io::empty())?;
                return Ok(false);
            }
            self.named.insert(inode, path.to_vec());
        }
        if kind == FileType::RegularFile {
            self.regular(directory, name, path, visit)?;
        } else {
            self.special(directory, name, path, &stat, visit)?;
        }
        Ok(false)
    }

    fn regular(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), LayerError> {
        let failed = |errno| self.unreadable(path, errno);
        // Should it have become a pipe meanwhile, opening must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = beneath::open(
            directory,
            name.to_bytes(),
            flags,
            Mode::empty(),
            self.resolve(),
        )
        .map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.wrong(path, "it was replaced while it was read"));
        }
        let xattrs = beneath::xattrs(&file).map_err(failed)?;
        if self.layer.kind == Kind::Upper {
            upper::check_file(&xattrs).map_err(|reason| self.wrong(path, reason))?;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let whiteout = self.layer.kind == Kind::Upper && size == 0 && upper::is_whiteout(&xattrs);
        let entry = Entry {
            path: path.to_vec(),
            kind: if whiteout {
                EntryKind::Whiteout
            } else {
                EntryKind::File { size }
            },
            metadata: self.metadata(&stat, xattrs),
        };
        visit(entry, &mut content::Content::new(File::from(file), size))
    }

    fn special(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        visit: &mut Visit<'_>,
    ) -> Result<(), LayerError> {
        let device = encoded(stat.st_rdev);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => EntryKind::Symlink {
                target: rustix::fs::readlinkat(directory, name, Vec::new())
                    .map_err(|errno| self.unreadable(path, errno))?
                    .into_bytes(),
            },
            FileType::CharacterDevice => EntryKind::CharDevice(device),
            FileType::BlockDevice => EntryKind::BlockDevice(device),
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            _ => return Err(self.wrong(path, "it was replaced while it was read")),
        };
        // Such files cannot be opened to ask for their attributes. Without /proc they have none.
        let mut place = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        place.extend_from_slice(name.to_bytes());
        let xattrs = beneath::xattrs_at(&place).unwrap_or_default();
        let entry = Entry {
            path: path.to_vec(),
            kind,
            metadata: self.metadata(stat, xattrs),
        };
        visit(entry, &mut io::empty())
    }

    fn metadata(&self, stat: &Stat, mut xattrs: Vec<Xattr>) -> Metadata {
        if self.layer.kind == Kind::Upper {
            xattrs.retain(|(name, _)| !upper::is_private(name));
        }
        Metadata {
            permissions: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            #[allow(
                clippy::useless_conversion,
                reason = "its type differs between processors"
            )]
            mtime: i64::try_from(stat.st_mtime).unwrap_or(0),
            xattrs: if xattrs.is_empty() {
                Arc::clone(&self.none)
            } else {
                xattrs.into()
            },
        }
    }
}

/// A device number as an image has it.
#[allow(
    clippy::useless_conversion,
    reason = "its type differs between processors"
)]
fn encoded(device: rustix::fs::Dev) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
