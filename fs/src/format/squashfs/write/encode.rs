//! Inodes as they are on disk: the basic layout where it can say all, else the extended one.

use super::Tail;
use super::directory::Listed;
use super::xattrs::NONE;

/// The size of a directory counts three bytes for `.` and `..`, which are not stored.
const DIRECTORY_EXTRA: usize = 3;

/// From a basic layout's number to the extended one's.
const EXTENDED: u16 = 7;

/// What all inodes have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) permissions: u16,
    /// Places of the owner in the id table.
    pub(super) uid: u16,
    pub(super) gid: u16,
    pub(super) mtime: u32,
    pub(super) number: u32,
    pub(super) nlink: u32,
    /// Number of the extended attributes, or [`NONE`].
    pub(super) xattrs: u32,
}

/// What only one kind has.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Directory {
        listed: &'a Listed,
        /// Inode number.
        parent: u32,
    },
    File {
        start: u64,
        size: u64,
        sparse: u64,
        tail: Option<Tail>,
        words: &'a [u32],
    },
    Symlink(&'a [u8]),
    BlockDevice(u32),
    CharDevice(u32),
    Fifo,
    Socket,
}

impl Body<'_> {
    /// Number of the basic layout, which entries of directories carry.
    pub(super) fn kind(&self) -> u16 {
        match self {
            Self::Directory { .. } => 1,
            Self::File { .. } => 2,
            Self::Symlink(_) => 3,
            Self::BlockDevice(_) => 4,
            Self::CharDevice(_) => 5,
            Self::Fifo => 6,
            Self::Socket => 7,
        }
    }
}

/// An inode in the making.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Bytes<'_> {
    fn half(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn word(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn start(&mut self, layout: u16, common: &Common) {
        for number in [layout, common.permissions, common.uid, common.gid] {
            self.half(number);
        }
        self.word(common.mtime);
        self.word(common.number);
    }
}

/// Encodes an inode to `to`, which is emptied before.
pub(super) fn inode(common: &Common, body: &Body<'_>, to: &mut Vec<u8>) {
    to.clear();
    let mut bytes = Bytes(to);
    let kind = body.kind();
    let extended = common.xattrs != NONE;
    match body {
        Body::Directory { listed, parent } => directory(&mut bytes, common, listed, *parent),
        Body::File { .. } => file(&mut bytes, common, body),
        other => {
            bytes.start(if extended { kind + EXTENDED } else { kind }, common);
            bytes.word(common.nlink);
            match other {
                Body::Symlink(target) => {
                    // At most a page.
                    bytes.word(u32::try_from(target.len()).unwrap_or(0));
                    bytes.0.extend_from_slice(target);
                }
                Body::BlockDevice(device) | Body::CharDevice(device) => bytes.word(*device),
                _ => {}
            }
            if extended {
                bytes.word(common.xattrs);
            }
        }
    }
}

fn directory(bytes: &mut Bytes<'_>, common: &Common, listed: &Listed, parent: u32) {
    let size = listed.len + DIRECTORY_EXTRA;
    // The listing was found to be small enough, and where it lies as well.
    let block = u32::try_from(listed.place.block).unwrap_or(u32::MAX);
    match u16::try_from(size) {
        Ok(size) if listed.points == 0 && common.xattrs == NONE => {
            bytes.start(1, common);
            bytes.word(block);
            bytes.word(common.nlink);
            bytes.half(size);
            bytes.half(listed.place.offset);
            bytes.word(parent);
        }
        _ => {
            bytes.start(1 + EXTENDED, common);
            bytes.word(common.nlink);
            bytes.word(u32::try_from(size).unwrap_or(u32::MAX));
            bytes.word(block);
            bytes.word(parent);
            bytes.half(listed.points);
            bytes.half(listed.place.offset);
            bytes.word(common.xattrs);
            bytes.0.extend_from_slice(&listed.index);
        }
    }
}

fn file(bytes: &mut Bytes<'_>, common: &Common, body: &Body<'_>) {
    let Body::File {
        start,
        size,
        sparse,
        tail,
        words,
    } = body
    else {
        return;
    };
    let (fragment, offset) = tail.map_or((NONE, 0), |tail| (tail.fragment, tail.offset));
    let basic = *sparse == 0 && common.nlink == 1 && common.xattrs == NONE;
    match (u32::try_from(*start), u32::try_from(*size)) {
        (Ok(start), Ok(size)) if basic => {
            bytes.start(2, common);
            for number in [start, fragment, offset, size] {
                bytes.word(number);
            }
        }
        _ => {
            bytes.start(2 + EXTENDED, common);
            bytes.long(*start);
            bytes.long(*size);
            // Linux reckons with size - sparse - 1.
            bytes.long((*sparse).min(size.saturating_sub(1)));
            for number in [common.nlink, fragment, offset, common.xattrs] {
                bytes.word(number);
            }
        }
    }
    for word in *words {
        bytes.word(*word);
    }
}
