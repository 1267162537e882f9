//! squashfs 4.0: a read-only tree out of compressed blocks.
//!
//! Nodes are named by their inode's place (block and offset in the inode table), as in directory
//! entries; nothing is read ahead of need but the superblock and the root's inode. What is decoded
//! is cached: metadata in one bounded cache, data and fragment blocks in another.

mod data;
mod directory;
mod ids;
mod inode;
mod lookup;
mod metadata;
mod numbers;
mod options;
mod superblock;
#[cfg(test)]
mod tests;
pub mod write;
mod xattr;

pub use options::{CompressorOptions, SquashfsOptions};
pub use superblock::{Flags, MAGIC, SUPERBLOCK_LEN, Superblock};

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use skiff_cache::memory::MemoryStats;

use crate::format::bytes::index;
use crate::source::{Counted, Source};
use crate::tree::{Attr, Entry, NodeRef, PackedContent, Segment, Tree, TreeError, TreeStat};

use data::{Content, Data, Fragment};
use directory::Directories;
use ids::Ids;
use inode::{Body, Directory, Inode};
use lookup::Lookup;
use metadata::{Metadata, Place, Table, damaged};
use numbers::Numbers;
use xattr::Xattrs;

/// Linux's figure for statfs(2).
const NAME_MAX: u32 = 256;

/// Why a file system cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SquashfsError {
    /// The magic number is missing.
    #[error("not a squashfs file system")]
    NotSquashfs,
    /// There is not even a superblock.
    #[error("squashfs superblock cut off: only {size} bytes")]
    TooShort {
        /// Length of the source.
        size: u64,
    },
    /// A version other than 4.0, the only one in use since 2009.
    #[error("squashfs version {major}.{minor} is not supported, only 4.0")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// Compression that Linux has no decoder for either.
    #[error(
        "squashfs with legacy lzma compression is not supported; \
         repack it with one of gzip, zstd, xz, lz4, lzo"
    )]
    LegacyLzma,
    /// A compressor id without a meaning.
    #[error("unknown squashfs compressor {id}")]
    Compressor {
        /// The id.
        id: u16,
    },
    /// A block size out of range, or two fields that differ about it.
    #[error("squashfs block size {size} with logarithm {log} is not valid")]
    BlockSize {
        /// Size in bytes.
        size: u32,
        /// Its logarithm.
        log: u16,
    },
    /// The file is shorter than the file system says it is.
    #[error("squashfs cut off: {expected} bytes expected, {size} there")]
    Truncated {
        /// Length by the superblock.
        expected: u64,
        /// Length of the source.
        size: u64,
    },
    /// A table that lies outside the file system or does not fit where it is.
    #[error("squashfs {what} at byte {start} is out of place")]
    Table {
        /// Which table.
        what: &'static str,
        /// Its start by the superblock.
        start: u64,
    },
    /// No owner could be looked up.
    #[error("squashfs without an id table")]
    NoIds,
    /// The options behind the superblock make no sense.
    #[error("squashfs compressor options are not valid")]
    CompressorOptions,
    /// The root's inode cannot be read or is no directory.
    #[error("squashfs root directory")]
    Root(#[source] TreeError),
    /// The source of the bytes failed.
    #[error("reading the squashfs superblock")]
    Source(#[from] io::Error),
}

/// An open file system.
#[derive(Debug)]
pub struct Squashfs {
    superblock: Superblock,
    compressor_options: Option<CompressorOptions>,
    source: Arc<Counted>,
    root: NodeRef,
    metadata: Metadata,
    data: Data,
    inodes: Table,
    listings: Table,
    ids: Ids,
    fragments: Option<Lookup>,
    xattrs: Option<Xattrs>,
    numbers: Numbers,
}

impl Squashfs {
    /// Opens the file system that starts at the first byte of `source`.
    ///
    /// # Errors
    /// [`SquashfsError`]
    pub fn open(source: Arc<dyn Source>, options: SquashfsOptions) -> Result<Self, SquashfsError> {
        let source = Arc::new(Counted::new(source));
        let mut start = [0; options::READ_LEN];
        let got = source.read_at(&mut start, 0)?;
        let start = start.get(..got).unwrap_or_default();
        let superblock = Superblock::parse(start, source.size())?;
        let compressor_options = options::parse(&superblock, start)?;
        let table = |what, start| Table {
            what,
            start,
            end: superblock.table_end(start),
        };
        let out_of_place = |what, start| SquashfsError::Table { what, start };
        let lookup_end = superblock.bytes_used;
        let ids = Lookup::new::<4>(
            "id table",
            superblock.id_table,
            lookup_end,
            u64::from(superblock.ids),
        )
        .ok_or(out_of_place("id table", superblock.id_table))?;
        let fragments = superblock
            .fragment_table
            .map(|list| {
                let count = u64::from(superblock.fragments);
                Lookup::new::<16>("fragment table", list, lookup_end, count)
                    .ok_or(out_of_place("fragment table", list))
            })
            .transpose()?;
        let export = superblock
            .export_table
            .map(|list| {
                let count = u64::from(superblock.inodes);
                Lookup::new::<8>("export table", list, lookup_end, count)
                    .ok_or(out_of_place("export table", list))
            })
            .transpose()?;
        let xattrs = superblock
            .xattr_table
            .map(|start| {
                let what = "extended attribute table";
                let mut header = [0; 16];
                let end = start.saturating_add(xattr::HEADER_LEN);
                if end > superblock.bytes_used {
                    return Err(out_of_place(what, start));
                }
                source.read_exact_at(&mut header, start)?;
                Xattrs::new(header, start, superblock.bytes_used).ok_or(out_of_place(what, start))
            })
            .transpose()?;
        let root = NodeRef::new(superblock.root)
            .ok_or(SquashfsError::Root(TreeError::NoSuchNode(superblock.root)))?;
        let squashfs = Self {
            superblock,
            compressor_options,
            root,
            metadata: Metadata::new(
                Arc::clone(&source),
                superblock.codec,
                superblock.inode_table..superblock.bytes_used,
                options.metadata_cache_bytes,
            ),
            data: Data::new(
                Arc::clone(&source),
                superblock.codec,
                superblock.block_size,
                superblock.bytes_used,
                options.data_cache_bytes_for(superblock.block_size),
            ),
            inodes: table("inode table", superblock.inode_table),
            listings: table("directory table", superblock.directory_table),
            ids: Ids::new(ids, superblock.ids),
            fragments,
            xattrs,
            numbers: Numbers::new(export),
            source,
        };
        match squashfs.inode(root) {
            Ok(Inode {
                body: Body::Directory(_),
                ..
            }) => Ok(squashfs),
            Ok(_) => Err(SquashfsError::Root(TreeError::NotDirectory)),
            Err(error) => Err(SquashfsError::Root(error)),
        }
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// What the image says of how it was compressed, if it does.
    pub fn compressor_options(&self) -> Option<CompressorOptions> {
        self.compressor_options
    }

    /// Counters of the metadata cache.
    pub fn metadata_stats(&self) -> MemoryStats {
        self.metadata.stats()
    }

    /// Counters of the cache of data and fragment blocks.
    pub fn data_stats(&self) -> MemoryStats {
        self.data.stats()
    }

    /// The node with inode number `number`: through the export table where there is one, else by
    /// going through the inode table. `None` when no inode has the number.
    ///
    /// # Errors
    /// [`TreeError`]
    pub fn node_by_number(&self, number: u32) -> Result<Option<NodeRef>, TreeError> {
        self.numbers.find(self, number)
    }

    fn inode(&self, node: NodeRef) -> Result<Inode, TreeError> {
        Inode::read(&mut self.inode_cursor(node)?)
    }

    fn inode_cursor(&self, node: NodeRef) -> Result<metadata::Cursor<'_>, TreeError> {
        let (block, offset) = inode::split(node);
        let no_such = || TreeError::NoSuchNode(node.get());
        let position = self
            .inodes
            .start
            .checked_add(block)
            .filter(|position| *position < self.inodes.end)
            .ok_or_else(no_such)?;
        let place = Place {
            block: position,
            offset,
        };
        self.metadata.cursor(self.inodes, place)
    }

    fn directory(&self, node: NodeRef) -> Result<Directory, TreeError> {
        match self.inode(node)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(TreeError::NotDirectory),
        }
    }

    fn directories(&self) -> Directories<'_> {
        Directories {
            metadata: &self.metadata,
            inodes: self.inodes,
            listings: self.listings,
        }
    }

    fn fragment(&self, number: u32) -> Result<Fragment, TreeError> {
        let table = self
            .fragments
            .ok_or_else(|| damaged("fragment of an image without fragments", 0))?;
        let [p0, p1, p2, p3, p4, p5, p6, p7, w0, w1, w2, w3, ..] =
            table.get::<16>(&self.metadata, u64::from(number))?;
        Ok(Fragment {
            position: u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            word: u32::from_le_bytes([w0, w1, w2, w3]),
        })
    }

    /// Number of the inode's extended attributes.
    fn xattr_set(&self, inode: &Inode) -> Result<Option<u32>, TreeError> {
        Ok(match &inode.body {
            Body::Directory(directory) => directory.xattrs,
            Body::File(file) => file.xattrs,
            Body::Device { xattrs, .. } | Body::Pipe { xattrs } => *xattrs,
            Body::Symlink(link) if link.extended => {
                let mut cursor = self.metadata.cursor(self.inodes, link.target)?;
                cursor.skip(link.len)?;
                inode::optional(cursor.u32()?)
            }
            Body::Symlink(_) => None,
        })
    }

    fn read_content(
        &self,
        node: NodeRef,
        offset: u64,
        len: u64,
        emit: &mut dyn FnMut(Segment),
    ) -> Result<(), TreeError> {
        let Body::File(file) = self.inode(node)?.body else {
            return Err(TreeError::NotRegular);
        };
        let fragment = |number| self.fragment(number);
        let content = self.content(node, &file, &fragment);
        self.data.read(content, offset, len, emit)
    }

    fn announce_content(&self, node: NodeRef, offset: u64, len: u64) -> Result<(), TreeError> {
        let Body::File(file) = self.inode(node)?.body else {
            return Err(TreeError::NotRegular);
        };
        let fragment = |number| self.fragment(number);
        let content = self.content(node, &file, &fragment);
        self.data.places(content, offset, len, &mut |place| {
            self.source.will_need(place);
        })
    }

    fn content<'a>(
        &'a self,
        node: NodeRef,
        file: &'a inode::File,
        fragment: data::FindFragment<'a>,
    ) -> Content<'a> {
        Content {
            node,
            file,
            metadata: &self.metadata,
            inodes: self.inodes,
            fragment,
        }
    }
}

impl Tree for Squashfs {
    fn root(&self) -> NodeRef {
        self.root
    }

    fn attr(&self, node: NodeRef) -> Result<Attr, TreeError> {
        let inode = self.inode(node)?;
        let xattr_len = match (&self.xattrs, self.xattr_set(&inode)?) {
            (Some(xattrs), Some(set)) => xattrs.len(&self.metadata, set)?,
            _ => 0,
        };
        let uid = self.ids.get(&self.metadata, inode.uid)?;
        let gid = self.ids.get(&self.metadata, inode.gid)?;
        Ok(inode.attr(uid, gid, xattr_len))
    }

    fn lookup(&self, dir: NodeRef, name: &[u8]) -> Result<Option<NodeRef>, TreeError> {
        self.directories().lookup(&self.directory(dir)?, name)
    }

    fn read_dir(
        &self,
        dir: NodeRef,
        cursor: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
        self.directories().read(&self.directory(dir)?, cursor, emit)
    }

    fn parent(&self, dir: NodeRef) -> Result<NodeRef, TreeError> {
        let parent = self.directory(dir)?.parent;
        if dir == self.root {
            return Ok(dir);
        }
        self.node_by_number(parent)?
            .ok_or_else(|| damaged("number of the parent directory", self.inodes.start))
    }

    fn read_link(&self, node: NodeRef) -> Result<Vec<u8>, TreeError> {
        let Body::Symlink(link) = self.inode(node)?.body else {
            return Err(TreeError::NotSymlink);
        };
        let mut cursor = self.metadata.cursor(self.inodes, link.target)?;
        // The inode was refused if this was longer than a page.
        let mut target = vec![0; index(link.len)];
        cursor.fill(&mut target)?;
        if target.contains(&0) {
            return Err(cursor.damaged("target of a symbolic link"));
        }
        Ok(target)
    }

    fn read(
        &self,
        node: NodeRef,
        offset: u64,
        len: usize,
        out: &mut Vec<Segment>,
    ) -> Result<(), TreeError> {
        self.read_content(node, offset, len as u64, &mut |segment| out.push(segment))
    }

    fn packed(&self, node: NodeRef) -> Result<Option<PackedContent>, TreeError> {
        let Body::File(file) = self.inode(node)?.body else {
            return Ok(None);
        };
        let fragment = |number| self.fragment(number);
        self.data.packed(self.content(node, &file, &fragment))
    }

    fn prefetch(&self, node: NodeRef, offset: u64, len: u64) {
        // The read that needs these bytes will meet the same error and report it.
        self.read_content(node, offset, len, &mut drop)
            .unwrap_or_default();
    }

    fn announce(&self, node: NodeRef, offset: u64, len: u64) {
        // The read that needs these bytes will meet the same error and report it.
        self.announce_content(node, offset, len).unwrap_or_default();
    }

    fn waits(&self) -> bool {
        self.source.is_remote()
    }

    fn block_size(&self) -> u32 {
        self.superblock.block_size
    }

    fn has_xattrs(&self) -> bool {
        self.xattrs.as_ref().is_some_and(Xattrs::any)
    }

    fn xattrs(&self, node: NodeRef, emit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), TreeError> {
        let Some(xattrs) = &self.xattrs else {
            return Ok(());
        };
        match self.xattr_set(&self.inode(node)?)? {
            Some(set) => xattrs.read(&self.metadata, set, emit),
            None => Ok(()),
        }
    }

    fn stat(&self) -> TreeStat {
        TreeStat {
            block_size: self.superblock.block_size,
            bytes: self.superblock.bytes_used,
            inodes: u64::from(self.superblock.inodes),
            name_max: NAME_MAX,
        }
    }

    fn source_bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }
}
