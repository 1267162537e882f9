//! From the tree to inode and directory tables, and to disk.
//!
//! Directories are worked through from the last to the first in the order of a walk, so that each
//! comes after those below it. For each, the inodes of its names are written, one next to the
//! other, then its listing; its own inode is written with its parent's names.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;

use crate::pack::{Content, Inode, InodeId, InodeTree, SinkError};

use super::directory::{Listed, Listing, Target};
use super::encode::{self, Body, Common};
use super::metadata::{self, MetadataPacker, Place, Stream};
use super::options::WriteOptions;
use super::output::Written;
use super::superblock::{ABSENT, Superblock};
use super::xattrs::{NONE, Xattrs};
use super::{Taken, write_error};

/// Linux's limits.
const NAME_MAX: usize = 255;
const SYMLINK_MAX: usize = 4095;

/// Directories have a name, and are called `.` by themselves.
const OWN_LINKS: u32 = 2;

fn unfit(what: impl Into<String>) -> SinkError {
    SinkError::Unfit(what.into())
}

/// Owners, each once.
#[derive(Debug, Default)]
struct Ids {
    list: Vec<u32>,
    places: HashMap<u32, u16>,
}

impl Ids {
    fn place(&mut self, id: u32) -> Result<u16, SinkError> {
        if let Some(place) = self.places.get(&id) {
            return Ok(*place);
        }
        let place = u16::try_from(self.list.len())
            .ok()
            .filter(|place| *place < u16::MAX)
            .ok_or_else(|| unfit("squashfs can hold files of at most 65535 different owners"))?;
        self.list.push(id);
        self.places.insert(id, place);
        Ok(place)
    }
}

/// What the names of the tree say of an inode.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// 0 for inodes without a name.
    number: u32,
    names: u32,
    /// Inode number of a directory's parent.
    parent: u32,
    /// Directories in a directory.
    below: u32,
    /// Where the inode was written, and as what.
    written: Option<(Place, u16)>,
}

/// Everything but data, ready to be written.
pub(super) struct Tables {
    packer: MetadataPacker,
    inodes: Stream,
    directories: Stream,
    ids: Ids,
    xattrs: Xattrs,
    /// References of the inodes by their number less one.
    exports: Vec<u64>,
    root: u64,
}

/// What building goes along with.
struct Builder<'a> {
    tree: &'a InodeTree,
    options: &'a WriteOptions,
    taken: &'a [Taken],
    written: &'a Written,
    seen: Vec<Seen>,
    listed: HashMap<InodeId, Listed>,
    tables: Tables,
    scratch: Vec<u8>,
}

impl Tables {
    pub(super) fn build(
        tree: &InodeTree,
        options: &WriteOptions,
        taken: &[Taken],
        written: &Written,
    ) -> Result<Self, SinkError> {
        let mut seen = vec![Seen::default(); tree.len()];
        let (order, count) = walk(tree, &mut seen)?;
        let tables = Self {
            packer: MetadataPacker::new(options).map_err(write_error)?,
            inodes: Stream::new(options.compress_inodes),
            directories: Stream::new(options.compress_inodes),
            ids: Ids::default(),
            xattrs: Xattrs::new(options.compress_xattrs),
            exports: vec![0; usize::try_from(count).unwrap_or(usize::MAX)],
            root: 0,
        };
        let mut builder = Builder {
            tree,
            options,
            taken,
            written,
            seen,
            listed: HashMap::new(),
            tables,
            scratch: Vec::new(),
        };
        for directory in order.into_iter().rev() {
            builder.directory(directory)?;
        }
        builder.inode(InodeId::ROOT)?;
        let mut tables = builder.tables;
        tables.root = tables.exports.first().copied().unwrap_or(0);
        Ok(tables)
    }

    /// Writes everything behind the data; what the superblock has to say.
    pub(super) fn write(
        mut self,
        options: &WriteOptions,
        written: &Written,
    ) -> Result<Superblock, SinkError> {
        let packer = &mut self.packer;
        let mut position = written.position;
        let mut put = |bytes: &[u8]| {
            let start = position;
            let (file, base) = (&written.file, written.base);
            file.write_all_at(bytes, base + start)
                .map_err(write_error)?;
            position += bytes.len() as u64;
            Ok::<_, SinkError>(position)
        };
        let inode_table = written.position;
        let directory_table = put(&self.inodes.finish(packer).0)?;
        let mut end = put(&self.directories.finish(packer).0)?;
        let mut fragment_table = ABSENT;
        if !written.fragments.is_empty() {
            let mut records = Vec::with_capacity(written.fragments.len() * 16);
            for fragment in &written.fragments {
                records.extend_from_slice(&fragment.start.to_le_bytes());
                records.extend_from_slice(&fragment.word.to_le_bytes());
                records.extend_from_slice(&[0; 4]);
            }
            let (bytes, list) =
                metadata::table(packer, options.compress_inodes, &records, &[], end);
            fragment_table = list;
            end = put(&bytes)?;
        }
        let mut export_table = ABSENT;
        if options.exports {
            let records: Vec<u8> = self
                .exports
                .iter()
                .flat_map(|at| at.to_le_bytes())
                .collect();
            let (bytes, list) =
                metadata::table(packer, options.compress_inodes, &records, &[], end);
            export_table = list;
            end = put(&bytes)?;
        }
        let records: Vec<u8> = self
            .ids
            .list
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        let compress = options.compress_inodes && options.compress_ids;
        let (bytes, id_table) = metadata::table(packer, compress, &records, &[], end);
        end = put(&bytes)?;
        let mut xattr_table = ABSENT;
        if let Some((bytes, start)) = self.xattrs.finish(packer, end) {
            xattr_table = start;
            end = put(&bytes)?;
        }
        Ok(Superblock {
            options: *options,
            inodes: u32::try_from(self.exports.len()).unwrap_or(u32::MAX),
            fragments: u32::try_from(written.fragments.len()).unwrap_or(u32::MAX),
            // At most 65535 were taken.
            ids: u16::try_from(self.ids.list.len()).unwrap_or(u16::MAX),
            root: self.root,
            bytes_used: end,
            id_table,
            xattr_table,
            inode_table,
            directory_table,
            fragment_table,
            export_table,
        })
    }
}

/// Numbers the inodes that have names, counts these, and lists the directories, each before those
/// below it. Names in a directory have neighbouring numbers.
fn walk(tree: &InodeTree, seen: &mut [Seen]) -> Result<(Vec<InodeId>, u32), SinkError> {
    let mut order = Vec::new();
    let mut next: u32 = 1;
    let mut open = vec![InodeId::ROOT];
    seen[0].number = next;
    while let Some(directory) = open.pop() {
        order.push(directory);
        let parent = seen[directory.index()].number;
        let first_below = open.len();
        for (name, id) in tree.names(directory).into_iter().flatten() {
            check_name(name)?;
            let is_directory = tree.names(*id).is_some();
            let here = &mut seen[id.index()];
            if here.number == 0 {
                // Trees have fewer inodes than that.
                next = next.saturating_add(1);
                here.number = next;
                here.parent = parent;
            } else if is_directory {
                let name = String::from_utf8_lossy(name);
                return Err(unfit(format!("directory {name} has two names")));
            }
            here.names = here.names.saturating_add(1);
            if is_directory {
                open.push(*id);
            }
        }
        let below = open.len() - first_below;
        seen[directory.index()].below = u32::try_from(below).unwrap_or(u32::MAX);
        open[first_below..].reverse();
    }
    // Linux's own squashfs takes a number that no inode has for the root's parent.
    seen[0].parent = next.saturating_add(1);
    Ok((order, next))
}

fn check_name(name: &[u8]) -> Result<(), SinkError> {
    let fine = (1..=NAME_MAX).contains(&name.len())
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, b'/' | 0));
    if fine {
        return Ok(());
    }
    let name = name.escape_ascii();
    Err(unfit(format!("\"{name}\" cannot be the name of a file")))
}

impl<'a> Builder<'a> {
    /// Writes the inodes of all names in `directory`, and its listing.
    fn directory(&mut self, directory: InodeId) -> Result<(), SinkError> {
        let tree = self.tree;
        let names = tree.names(directory).into_iter().flatten();
        let mut listing = Listing::default();
        for (name, id) in names {
            let (place, kind) = match self.seen[id.index()].written {
                Some(written) => written,
                None => self.inode(*id)?,
            };
            let number = self.seen[id.index()].number;
            listing.add(
                name,
                Target {
                    place,
                    number,
                    kind,
                },
            );
        }
        let tables = &mut self.tables;
        let listed = listing
            .write(&mut tables.packer, &mut tables.directories)
            .ok_or_else(|| unfit("directories larger than squashfs can hold"))?;
        self.listed.insert(directory, listed);
        Ok(())
    }

    /// Writes an inode; where, and as what.
    fn inode(&mut self, id: InodeId) -> Result<(Place, u16), SinkError> {
        let inode = self.tree.get(id);
        let common = self.common(id, inode)?;
        let listed;
        let body = match &inode.content {
            Content::Directory(_) => {
                listed = self.listed.remove(&id).unwrap_or_default();
                Body::Directory {
                    listed: &listed,
                    parent: self.seen[id.index()].parent,
                }
            }
            Content::File(data, size) => self.file(data.0, *size)?,
            Content::Symlink(target) => {
                if !(1..=SYMLINK_MAX).contains(&target.len()) {
                    let len = target.len();
                    return Err(unfit(format!("a symbolic link cannot have {len} bytes")));
                }
                Body::Symlink(target)
            }
            Content::CharDevice(device) => Body::CharDevice(*device),
            Content::BlockDevice(device) => Body::BlockDevice(*device),
            Content::Fifo => Body::Fifo,
            Content::Socket => Body::Socket,
        };
        encode::inode(&common, &body, &mut self.scratch);
        let kind = body.kind();
        let tables = &mut self.tables;
        let place = tables.inodes.place();
        if u32::try_from(place.block).is_err() {
            return Err(unfit("more inodes than squashfs can hold"));
        }
        tables.inodes.write(&mut tables.packer, &self.scratch);
        let number = usize::try_from(common.number).unwrap_or(0);
        tables.exports[number - 1] = place.reference();
        self.seen[id.index()].written = Some((place, kind));
        Ok((place, kind))
    }

    fn common(&mut self, id: InodeId, inode: &Inode) -> Result<Common, SinkError> {
        let seen = self.seen[id.index()];
        let metadata = &inode.metadata;
        let options = self.options;
        let tables = &mut self.tables;
        Ok(Common {
            permissions: u16::try_from(metadata.permissions & 0o7777).unwrap_or(0),
            uid: tables.ids.place(options.uid.unwrap_or(metadata.uid))?,
            gid: tables.ids.place(options.gid.unwrap_or(metadata.gid))?,
            mtime: options.mtime(metadata.mtime),
            number: seen.number,
            nlink: match inode.content {
                Content::Directory(_) => seen.below.saturating_add(OWN_LINKS),
                _ => seen.names,
            },
            xattrs: if options.xattrs {
                tables.xattrs.number(&mut tables.packer, &metadata.xattrs)
            } else {
                NONE
            },
        })
    }

    fn file(&self, data: u64, size: u64) -> Result<Body<'a>, SinkError> {
        let taken = usize::try_from(data)
            .ok()
            .and_then(|data| self.taken.get(data))
            .filter(|taken| taken.size == size)
            .ok_or_else(|| {
                unfit(format!(
                    "no content number {data} of {size} bytes was taken"
                ))
            })?;
        let (start, words) = match taken.run {
            Some(run) => self
                .written
                .run(run)
                .ok_or_else(|| unfit("content that was not written"))?,
            None => (0, &[][..]),
        };
        Ok(Body::File {
            start,
            size,
            sparse: taken.sparse,
            tail: taken.tail,
            words,
        })
    }
}
