//! The read-only tree that every format reader offers and everything above sees.

mod packed;
pub mod path;

pub use packed::{PackedBlock, PackedContent};

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Identity of a node within one tree, derived from its place in the image (squashfs: the inode
/// reference), so that a new server process finds the same node under the same number. Hard links
/// share one. Below 2^48.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeRef(u64);

impl NodeRef {
    /// Bits a reference may use.
    pub const BITS: u32 = 48;

    /// Wraps `raw`; `None` when it needs more than [`NodeRef::BITS`] bits.
    pub const fn new(raw: u64) -> Option<Self> {
        if raw >> Self::BITS == 0 {
            Some(Self(raw))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

impl FileKind {
    /// The `S_IFMT` bits of stat(2).
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The `d_type` of readdir(3): the file type bits shifted right by 12.
    pub const fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// Attributes as stat(2) shows them, owners not yet mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// `st_ino`: the image's own inode number.
    pub ino: u64,
    /// Kind of file.
    pub kind: FileKind,
    /// Permission bits with set-id and sticky bits (`mode & 0o7777`).
    pub permissions: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number as Linux encodes it for user space in 32 bits (`new_encode_dev`); 0 for others.
    pub rdev: u32,
    /// Size in bytes.
    pub size: u64,
    /// 512-byte units, equal to what the kernel's own driver for the format reports.
    pub blocks: u64,
    /// Modification time (also served as access and change time), Unix seconds.
    pub mtime: i64,
}

/// One name in a directory; `.` and `..` are not among them.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// File name: any bytes but `/` and NUL.
    pub name: &'a [u8],
    /// The node it names.
    pub node: NodeRef,
    /// Inode number for `d_ino`.
    pub ino: u64,
    /// Kind for `d_type`.
    pub kind: FileKind,
    /// Pass it to [`Tree::read_dir`] to go on behind this entry. Never 0, below 2^62.
    pub next: u64,
}

/// A piece of file content, shared with the cache it was decoded into.
#[derive(Clone, Debug)]
pub enum Segment {
    /// This range of these bytes.
    Bytes(Arc<[u8]>, Range<usize>),
    /// So many zero bytes (a hole).
    Zeros(usize),
}

impl Segment {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(_, range) => range.len(),
            Self::Zeros(len) => *len,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Size figures for statfs(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeStat {
    /// Preferred block size.
    pub block_size: u32,
    /// Bytes of the image.
    pub bytes: u64,
    /// Number of inodes.
    pub inodes: u64,
    /// Longest file name.
    pub name_max: u32,
}

/// Why a tree could not answer.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The node is not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// The node has no content to read.
    #[error("not a regular file")]
    NotRegular,
    /// The node is not a symbolic link.
    #[error("not a symbolic link")]
    NotSymlink,
    /// No node has this reference.
    #[error("no such node: {0:#x}")]
    NoSuchNode(u64),
    /// The image is damaged here.
    #[error("damaged image: {what} at byte {offset} of the file system")]
    Damaged {
        /// Which structure.
        what: String,
        /// Where it lies, relative to the start of the file system.
        offset: u64,
    },
    /// The source of the bytes failed.
    #[error("reading the image")]
    Source(#[from] std::io::Error),
}

/// A read-only file tree. Calls come from many threads at once; none keeps state between calls.
pub trait Tree: Send + Sync + std::fmt::Debug {
    /// The root directory.
    fn root(&self) -> NodeRef;

    /// Attributes of `node`.
    ///
    /// # Errors
    /// [`TreeError`], when `node` does not exist or its inode is damaged.
    fn attr(&self, node: NodeRef) -> Result<Attr, TreeError>;

    /// The node called `name` in `dir`, without scanning a large directory from its start.
    ///
    /// # Errors
    /// [`TreeError`]; an absent name is `Ok(None)`.
    fn lookup(&self, dir: NodeRef, name: &[u8]) -> Result<Option<NodeRef>, TreeError>;

    /// Calls `emit` for the entries of `dir` from `cursor` on (0 = the start) until it breaks.
    ///
    /// # Errors
    /// [`TreeError`]; entries before the damage have been emitted.
    fn read_dir(
        &self,
        dir: NodeRef,
        cursor: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), TreeError>;

    /// Parent of a directory (the root's is itself).
    ///
    /// # Errors
    /// [`TreeError`]
    fn parent(&self, dir: NodeRef) -> Result<NodeRef, TreeError>;

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`TreeError`]
    fn read_link(&self, node: NodeRef) -> Result<Vec<u8>, TreeError>;

    /// Appends to `out` the content of `node` in `[offset, offset + len)`, cut at the file's end.
    ///
    /// # Errors
    /// [`TreeError`]; `out` may then hold a part.
    fn read(
        &self,
        node: NodeRef,
        offset: u64,
        len: usize,
        out: &mut Vec<Segment>,
    ) -> Result<(), TreeError>;

    /// Where the content of `node` lies in the image, when that is nothing but blocks that can be
    /// taken over as they are.
    ///
    /// # Errors
    /// [`TreeError`]
    fn packed(&self, _node: NodeRef) -> Result<Option<PackedContent>, TreeError> {
        Ok(None)
    }

    /// Decodes what lies in `[offset, offset + len)` into the cache and drops the result;
    /// errors are left for the read that will meet them.
    fn prefetch(&self, node: NodeRef, offset: u64, len: u64);

    /// Says that `[offset, offset + len)` will be read soon: where the image is far away its bytes
    /// are fetched meanwhile. Returns at once, and decodes nothing.
    fn announce(&self, _node: NodeRef, _offset: u64, _len: u64) {}

    /// Whether calls may have to wait for a network.
    fn waits(&self) -> bool {
        false
    }

    /// Size of the blocks that files are decoded in: the useful step for [`Tree::prefetch`].
    fn block_size(&self) -> u32;

    /// Whether any node of the image may have extended attributes.
    fn has_xattrs(&self) -> bool;

    /// Calls `emit` with full name (with its prefix, such as `user.`) and value of each extended
    /// attribute of `node`.
    ///
    /// # Errors
    /// [`TreeError`]
    fn xattrs(&self, node: NodeRef, emit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), TreeError>;

    /// Figures for statfs(2).
    fn stat(&self) -> TreeStat;

    /// Bytes read from the image's source so far, by this process.
    fn source_bytes_read(&self) -> u64;
}

#[cfg(test)]
pub(crate) mod sample;
