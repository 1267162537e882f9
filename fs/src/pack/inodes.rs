//! The tree of names and attributes that is going to be written, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sink::FileData;

/// Name and value of one extended attribute, as listxattr(2) and getxattr(2) give them.
pub type Xattr = (Box<[u8]>, Box<[u8]>);

/// Number of an inode in its tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct InodeId(u32);

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self(0);

    /// Place in the order in which inodes were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What all kinds of files have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Permission bits with set-id and sticky bits (`mode & 0o7777`).
    pub permissions: u32,
    /// Owner, as it shall be in the image.
    pub uid: u32,
    /// Group, as it shall be in the image.
    pub gid: u32,
    /// Modification time, Unix seconds.
    pub mtime: i64,
    /// Extended attributes, sorted by name; shared, since most files have the same few.
    pub xattrs: Arc<[Xattr]>,
}

/// What a file is, and what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Names in the order of their bytes.
    Directory(BTreeMap<Box<[u8]>, InodeId>),
    /// Content that a sink has taken, and its length in bytes.
    File(FileData, u64),
    /// Target of a symbolic link.
    Symlink(Box<[u8]>),
    /// Device number as Linux encodes it for user space (`new_encode_dev`).
    CharDevice(u32),
    /// As for character devices.
    BlockDevice(u32),
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// One file of the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Owner, permissions, time, attributes.
    pub metadata: Metadata,
    /// What it is.
    pub content: Content,
}

/// Inodes and the names they have. Inodes without a name are not written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InodeTree {
    inodes: Vec<Inode>,
}

impl InodeTree {
    /// An empty root directory with this metadata.
    pub fn new(root: Metadata) -> Self {
        Self {
            inodes: vec![Inode {
                metadata: root,
                content: Content::Directory(BTreeMap::new()),
            }],
        }
    }

    /// Adds an inode that has no name yet; `None` when there are 2^32 - 2 of them.
    pub fn add(&mut self, inode: Inode) -> Option<InodeId> {
        let id = u32::try_from(self.inodes.len())
            .ok()
            .filter(|&id| id < u32::MAX - 1)?;
        self.inodes.push(inode);
        Some(InodeId(id))
    }

    /// The inode with this number.
    ///
    /// # Panics
    /// When `id` is of another tree.
    pub fn get(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// As [`InodeTree::get`], to be changed.
    ///
    /// # Panics
    /// When `id` is of another tree.
    pub fn get_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// The names in `directory`; `None` when it is none.
    pub fn names(&self, directory: InodeId) -> Option<&BTreeMap<Box<[u8]>, InodeId>> {
        match &self.get(directory).content {
            Content::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// As [`InodeTree::names`], to be changed.
    pub fn names_mut(&mut self, directory: InodeId) -> Option<&mut BTreeMap<Box<[u8]>, InodeId>> {
        match &mut self.get_mut(directory).content {
            Content::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// How many inodes there are, with those that have no name.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Never: there is always a root.
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }
}
