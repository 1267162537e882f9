//! From contents and a tree to files with names.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::staging::{Staging, content_name};
use super::{DirectoryOptions, attributes, write_error};
use crate::beneath;
use crate::layers::tar::shown;
use crate::pack::{Content, Inode, InodeId, InodeTree, SinkError};

/// Builds all below the root; its own metadata is left out.
pub(super) fn build(
    staging: &Staging,
    tree: &InodeTree,
    files: u64,
    options: &DirectoryOptions,
) -> Result<(), SinkError> {
    let mut builder = Builder {
        staging,
        tree,
        options,
        named: HashMap::new(),
        placed: vec![false; usize::try_from(files).unwrap_or(0)],
    };
    // Directories in the order in which they were made: parents first.
    let mut all = vec![(Vec::new(), InodeId::ROOT)];
    let mut next = 0;
    while let Some((path, id)) = all.get(next).cloned() {
        next += 1;
        builder.fill(&path, id, &mut all)?;
    }
    // Closed directories and times come when nothing is made in them any more.
    for (path, id) in all[1..].iter().rev() {
        let failed = |errno| write_error(shown(path), errno);
        let directory = beneath::open_directory(&staging.root, path).map_err(failed)?;
        attributes::directory(&directory, &tree.get(*id).metadata, options).map_err(failed)?;
    }
    Ok(())
}

struct Builder<'a> {
    staging: &'a Staging,
    tree: &'a InodeTree,
    options: &'a DirectoryOptions,
    /// First names of files that are no directories and might have others.
    named: HashMap<InodeId, Vec<u8>>,
    /// Contents that have become files.
    placed: Vec<bool>,
}

impl Builder<'_> {
    /// Makes what is in one directory.
    fn fill(
        &mut self,
        path: &[u8],
        id: InodeId,
        all: &mut Vec<(Vec<u8>, InodeId)>,
    ) -> Result<(), SinkError> {
        let directory = beneath::open_directory(&self.staging.root, path)
            .map_err(|errno| write_error(shown(path), errno))?;
        for (name, &id) in self.tree.names(id).into_iter().flatten() {
            let mut path = path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let made = safe(name)
                .map_err(io::Error::from)
                .and_then(|name| self.make(&directory, &name, &path, id));
            made.map_err(|source| write_error(shown(&path), source))?;
            if self.tree.names(id).is_some() {
                all.push((path, id));
            }
        }
        Ok(())
    }

    fn make(
        &mut self,
        directory: &OwnedFd,
        name: &CString,
        path: &[u8],
        id: InodeId,
    ) -> io::Result<()> {
        let inode = self.tree.get(id);
        if matches!(inode.content, Content::Directory(_)) {
            rustix::fs::mkdirat(directory, name, Mode::RWXU)?;
            return Ok(());
        }
        if let Some(first) = self.named.get(&id) {
            let root = &self.staging.root;
            rustix::fs::linkat(root, first.as_slice(), directory, name, AtFlags::empty())?;
            return Ok(());
        }
        self.named.insert(id, path.to_vec());
        let special = |kind, device: u32| {
            // The modes, as all else, come below.
            let made = rustix::fs::mknodat(directory, name, kind, Mode::empty(), decoded(device));
            match made {
                Err(Errno::PERM) if device != 0 => self.no_device(directory, name),
                other => other,
            }
        };
        match &inode.content {
            Content::Directory(_) => {}
            Content::File(data, _) => self.content(data.0, directory, name)?,
            Content::Symlink(target) => rustix::fs::symlinkat(&**target, directory, name)?,
            Content::CharDevice(number) => special(FileType::CharacterDevice, *number)?,
            Content::BlockDevice(number) => special(FileType::BlockDevice, *number)?,
            Content::Fifo => special(FileType::Fifo, 0)?,
            Content::Socket => special(FileType::Socket, 0)?,
        }
        self.attributes(directory, name, inode)
    }

    fn attributes(&self, directory: &OwnedFd, name: &CString, inode: &Inode) -> io::Result<()> {
        let plain = matches!(inode.content, Content::File(..));
        let is_link = matches!(inode.content, Content::Symlink(_));
        let options = self.options;
        attributes::file(directory, name, &inode.metadata, plain, is_link, options)?;
        Ok(())
    }

    /// An empty file for a device that only the machine's own root may make.
    fn no_device(&self, directory: &OwnedFd, name: &CString) -> Result<(), Errno> {
        if let Some(warn) = &self.options.warn {
            warn("devices become empty files: only root can make them");
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let kind = FileType::RegularFile;
        rustix::fs::mknodat(directory, name, kind, mode, 0)
    }

    /// Moves a content to its place, or copies it where two files have the same.
    fn content(&mut self, number: u64, directory: &OwnedFd, name: &CString) -> io::Result<()> {
        let place = usize::try_from(number).ok();
        let placed = place
            .and_then(|place| self.placed.get_mut(place))
            .ok_or(Errno::BADF)?;
        if *placed {
            return Err(io::Error::other(
                "its content is already that of another file",
            ));
        }
        *placed = true;
        let from = content_name(number);
        rustix::fs::renameat(self.staging.content(), from.as_str(), directory, name)?;
        Ok(())
    }
}

/// A name that is one: a tree from elsewhere might hold others.
fn safe(name: &[u8]) -> Result<CString, Errno> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    CString::new(name).map_err(|_| Errno::INVAL)
}

/// A device number as the system has it.
fn decoded(device: u32) -> rustix::fs::Dev {
    let minor = (device & 0xff) | ((device >> 12) & 0x000f_ff00);
    rustix::fs::makedev((device >> 8) & 0xfff, minor)
}
