//! Numbers and layouts of the FUSE protocol (linux/fuse.h, protocol 7.31 to 7.45), native byte order.

/// Protocol version spoken; the kernel adapts to an older minor.
pub(crate) const MAJOR: u32 = 7;
pub(crate) const MINOR: u32 = 40;

pub(crate) const IN_HEADER_BYTES: usize = 40;
pub(crate) const OUT_HEADER_BYTES: usize = 16;
pub(crate) const ATTR_BYTES: usize = 88;
pub(crate) const ENTRY_OUT_BYTES: usize = 40 + ATTR_BYTES;
pub(crate) const DIRENT_BYTES: usize = 24;
/// Entries of a directory reply start on this boundary.
pub(crate) const DIRENT_ALIGN: usize = 8;

/// Request codes (`enum fuse_opcode`) that are told apart here.
pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const READ: u32 = 15;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const NOTIFY_REPLY: u32 = 41;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const READDIRPLUS: u32 = 44;
    /// Requests that would change something.
    pub(crate) const MODIFYING: &[u32] =
        &[4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51];
}

/// Flags of the handshake (`FUSE_*` of `struct fuse_init_in`/`out`), as one 64-bit word.
pub(crate) mod init {
    pub(crate) const ASYNC_READ: u64 = 1 << 0;
    pub(crate) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(crate) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(crate) const NO_OPEN_SUPPORT: u64 = 1 << 17;
    pub(crate) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(crate) const MAX_PAGES: u64 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u64 = 1 << 23;
    pub(crate) const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    pub(crate) const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    pub(crate) const INIT_EXT: u64 = 1 << 30;
    pub(crate) const HAS_RESEND: u64 = 1 << 39;
}

/// Notification codes (`enum fuse_notify_code`).
pub(crate) mod notify {
    pub(crate) const STORE: i32 = 4;
    pub(crate) const RESEND: i32 = 7;
}

/// One request as the kernel wrote it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) nodeid: u64,
    /// User id of the caller, in the user namespace that mounted.
    pub(crate) uid: u32,
    /// Process (thread) that asks, in the process namespace that mounted; 0 for none.
    pub(crate) pid: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the header; `None` when the message is shorter than it says.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let len = u32_at(message, 0)? as usize;
        let body = message.get(IN_HEADER_BYTES..len)?;
        Some(Self {
            opcode: u32_at(message, 4)?,
            unique: u64_at(message, 8)?,
            nodeid: u64_at(message, 16)?,
            uid: u32_at(message, 24)?,
            pid: u32_at(message, 32)?,
            body,
        })
    }

    /// The body as a name: up to its first NUL.
    pub(crate) fn name(&self) -> &'a [u8] {
        self.name_at(0)
    }

    /// A name that starts at byte `offset` of the body.
    pub(crate) fn name_at(&self, offset: usize) -> &'a [u8] {
        let rest = self.body.get(offset..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(rest.len());
        &rest[..end]
    }
}

/// Offset and size of READ, READDIR and READDIRPLUS (`struct fuse_read_in`).
pub(crate) fn read_range(body: &[u8]) -> Option<(u64, u32)> {
    Some((u64_at(body, 8)?, u32_at(body, 16)?))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*field))
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*field))
}
