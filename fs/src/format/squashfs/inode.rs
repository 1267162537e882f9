//! Inodes: fourteen layouts, a basic and an extended one for each kind of file.

use crate::tree::{Attr, FileKind, NodeRef, TreeError};

use super::metadata::{Cursor, Place};

/// "No fragment", "no extended attributes".
const NONE: u32 = u32::MAX;

/// The size of a directory counts three bytes for `.` and `..`, which are not stored.
const DIRECTORY_EXTRA: u64 = 3;

/// Linux refuses longer targets as well: they would not fit the page it hands to the caller.
pub(super) const SYMLINK_MAX: u64 = 4096;

/// A parsed inode; variable parts are left where they are.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: FileKind,
    permissions: u16,
    /// Places of the owner in the id table.
    pub(super) uid: u16,
    pub(super) gid: u16,
    mtime: u32,
    pub(super) number: u32,
    nlink: u32,
    size: u64,
    pub(super) body: Body,
}

/// What only one kind of file has.
#[derive(Debug)]
pub(super) enum Body {
    Directory(Directory),
    File(File),
    Symlink(Symlink),
    Device { rdev: u32, xattrs: Option<u32> },
    Pipe { xattrs: Option<u32> },
}

#[derive(Debug)]
pub(super) struct Directory {
    /// First block of the listing, counted from the directory table.
    pub(super) block: u32,
    /// Offset in that block.
    pub(super) offset: u16,
    /// Length of the listing in bytes.
    pub(super) len: u64,
    /// Inode number of the parent.
    pub(super) parent: u32,
    /// Index into the listing.
    pub(super) index: Option<Index>,
    pub(super) xattrs: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    pub(super) entries: u16,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) size: u64,
    /// Position of the first data block.
    pub(super) start: u64,
    pub(super) tail: Option<Tail>,
    /// Bytes that holes save; only extended inodes tell.
    sparse: Option<u64>,
    /// Where the list of block sizes begins.
    pub(super) blocks: Place,
    pub(super) xattrs: Option<u32>,
}

/// The end of a file in a fragment block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) fragment: u32,
    pub(super) offset: u32,
}

#[derive(Debug)]
pub(super) struct Symlink {
    pub(super) len: u64,
    pub(super) target: Place,
    /// The number of the attributes follows the target.
    pub(super) extended: bool,
}

impl Inode {
    /// Reads the inode at `cursor`, which is then behind its fixed part.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, TreeError> {
        let layout = cursor.u16()?;
        let permissions = cursor.u16()? & 0o7777;
        let uid = cursor.u16()?;
        let gid = cursor.u16()?;
        let mtime = cursor.u32()?;
        let number = cursor.u32()?;
        let (kind, nlink, size, body) = match layout {
            1 => directory(cursor)?,
            8 => extended_directory(cursor)?,
            2 => file(cursor)?,
            9 => extended_file(cursor)?,
            3 | 10 => symlink(cursor, layout == 10)?,
            4 => device(cursor, FileKind::BlockDevice, false)?,
            5 => device(cursor, FileKind::CharDevice, false)?,
            6 => pipe(cursor, FileKind::Fifo, false)?,
            7 => pipe(cursor, FileKind::Socket, false)?,
            11 => device(cursor, FileKind::BlockDevice, true)?,
            12 => device(cursor, FileKind::CharDevice, true)?,
            13 => pipe(cursor, FileKind::Fifo, true)?,
            14 => pipe(cursor, FileKind::Socket, true)?,
            _ => return Err(cursor.damaged("inode type")),
        };
        Ok(Self {
            kind,
            permissions,
            uid,
            gid,
            mtime,
            number,
            nlink,
            size,
            body,
        })
    }

    /// Attributes as Linux's own squashfs driver shows them, with the ids that the inode's places
    /// in the id table lead to and the length of its extended attributes.
    pub(super) fn attr(&self, uid: u32, gid: u32, xattr_len: u32) -> Attr {
        let content = match &self.body {
            Body::File(file) => file
                .size
                .saturating_sub(file.sparse.unwrap_or(0))
                .div_ceil(512),
            _ => 0,
        };
        let blocks = content.saturating_add(u64::from(xattr_len.div_ceil(512)));
        let rdev = match self.body {
            Body::Device { rdev, .. } => rdev,
            _ => 0,
        };
        Attr {
            ino: u64::from(self.number),
            kind: self.kind,
            permissions: u32::from(self.permissions),
            nlink: self.nlink,
            uid,
            gid,
            rdev,
            size: self.size,
            blocks,
            // 32 bits without sign on disk: good until 2106.
            mtime: i64::from(self.mtime),
        }
    }
}

type Parts = (FileKind, u32, u64, Body);

pub(super) fn optional(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}

fn directory(cursor: &mut Cursor<'_>) -> Result<Parts, TreeError> {
    let block = cursor.u32()?;
    let nlink = cursor.u32()?;
    let size = u64::from(cursor.u16()?);
    let offset = cursor.u16()?;
    let parent = cursor.u32()?;
    let body = Directory {
        block,
        offset,
        len: size.saturating_sub(DIRECTORY_EXTRA),
        parent,
        index: None,
        xattrs: None,
    };
    Ok((FileKind::Directory, nlink, size, Body::Directory(body)))
}

fn extended_directory(cursor: &mut Cursor<'_>) -> Result<Parts, TreeError> {
    let nlink = cursor.u32()?;
    let size = u64::from(cursor.u32()?);
    let block = cursor.u32()?;
    let parent = cursor.u32()?;
    let entries = cursor.u16()?;
    let offset = cursor.u16()?;
    let xattrs = optional(cursor.u32()?);
    let index = (entries > 0).then(|| Index {
        entries,
        place: cursor.place(),
    });
    let body = Directory {
        block,
        offset,
        len: size.saturating_sub(DIRECTORY_EXTRA),
        parent,
        index,
        xattrs,
    };
    Ok((FileKind::Directory, nlink, size, Body::Directory(body)))
}

fn tail(fragment: u32, offset: u32) -> Option<Tail> {
    (fragment != NONE).then_some(Tail { fragment, offset })
}

fn file(cursor: &mut Cursor<'_>) -> Result<Parts, TreeError> {
    let start = u64::from(cursor.u32()?);
    let fragment = cursor.u32()?;
    let offset = cursor.u32()?;
    let size = u64::from(cursor.u32()?);
    let body = File {
        size,
        start,
        tail: tail(fragment, offset),
        sparse: None,
        blocks: cursor.place(),
        xattrs: None,
    };
    Ok((FileKind::Regular, 1, size, Body::File(body)))
}

fn extended_file(cursor: &mut Cursor<'_>) -> Result<Parts, TreeError> {
    let start = cursor.u64()?;
    let size = cursor.u64()?;
    let sparse = cursor.u64()?;
    let nlink = cursor.u32()?;
    let fragment = cursor.u32()?;
    let offset = cursor.u32()?;
    let xattrs = optional(cursor.u32()?);
    // No kernel can show such a size.
    if i64::try_from(size).is_err() {
        return Err(cursor.damaged("file size"));
    }
    let body = File {
        size,
        start,
        tail: tail(fragment, offset),
        sparse: Some(sparse),
        blocks: cursor.place(),
        xattrs,
    };
    Ok((FileKind::Regular, nlink, size, Body::File(body)))
}

fn symlink(cursor: &mut Cursor<'_>, extended: bool) -> Result<Parts, TreeError> {
    let nlink = cursor.u32()?;
    let len = u64::from(cursor.u32()?);
    if len > SYMLINK_MAX {
        return Err(cursor.damaged("length of a symbolic link"));
    }
    let body = Symlink {
        len,
        target: cursor.place(),
        extended,
    };
    Ok((FileKind::Symlink, nlink, len, Body::Symlink(body)))
}

fn device(cursor: &mut Cursor<'_>, kind: FileKind, extended: bool) -> Result<Parts, TreeError> {
    let nlink = cursor.u32()?;
    // On disk as Linux shows it: 12 bits of major between 8 and 12 bits of minor.
    let rdev = cursor.u32()?;
    let xattrs = xattrs(cursor, extended)?;
    Ok((kind, nlink, 0, Body::Device { rdev, xattrs }))
}

fn pipe(cursor: &mut Cursor<'_>, kind: FileKind, extended: bool) -> Result<Parts, TreeError> {
    let nlink = cursor.u32()?;
    let xattrs = xattrs(cursor, extended)?;
    Ok((kind, nlink, 0, Body::Pipe { xattrs }))
}

fn xattrs(cursor: &mut Cursor<'_>, extended: bool) -> Result<Option<u32>, TreeError> {
    if extended {
        Ok(optional(cursor.u32()?))
    } else {
        Ok(None)
    }
}

/// Splits a reference: position of the block in the inode table, offset in the decoded block.
pub(super) fn split(node: NodeRef) -> (u64, usize) {
    let raw = node.get();
    let [low, high, ..] = raw.to_le_bytes();
    (raw >> 16, usize::from(u16::from_le_bytes([low, high])))
}

/// Joins what [`split`] takes apart.
pub(super) fn join(block: u32, offset: u16) -> Option<NodeRef> {
    NodeRef::new((u64::from(block) << 16) | u64::from(offset))
}
