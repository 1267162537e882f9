//! Replies: encoders of the protocol's structures and the gathered write.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::abi::{self, DIRENT_ALIGN, DIRENT_BYTES, OUT_HEADER_BYTES};
use crate::tree::{Attr, Segment};

/// Seconds for which the kernel may keep what it was told: an image never changes. The kernel
/// clamps what it cannot express.
const FOREVER_SECONDS: u64 = 1 << 62;

/// Holes are written from here.
static ZEROS: [u8; 128 * 1024] = [0; 128 * 1024];

/// Structures in the order of their fields.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// `struct fuse_attr`.
    fn attr(&mut self, attr: &Attr, block_size: u32) {
        self.u64(attr.ino);
        self.u64(attr.size);
        self.u64(attr.blocks);
        // Times before 1970 travel as two's complement, which the kernel takes back as such.
        for _ in 0..3 {
            self.u64(attr.mtime.cast_unsigned());
        }
        for _ in 0..3 {
            self.u32(0);
        }
        self.u32(attr.kind.mode_bits() | attr.permissions);
        self.u32(attr.nlink);
        self.u32(attr.uid);
        self.u32(attr.gid);
        self.u32(attr.rdev);
        self.u32(block_size);
        self.u32(0);
    }

    /// `struct fuse_attr_out`.
    pub(crate) fn attr_out(&mut self, attr: &Attr, block_size: u32) {
        self.u64(FOREVER_SECONDS);
        self.u32(0);
        self.u32(0);
        self.attr(attr, block_size);
    }

    /// `struct fuse_entry_out`.
    pub(crate) fn entry_out(&mut self, nodeid: u64, attr: &Attr, block_size: u32) {
        self.u64(nodeid);
        self.u64(0);
        self.u64(FOREVER_SECONDS);
        self.u64(FOREVER_SECONDS);
        self.u32(0);
        self.u32(0);
        self.attr(attr, block_size);
    }

    /// `struct fuse_entry_out` of a name that does not exist and never will.
    pub(crate) fn negative_entry(&mut self) {
        self.u64(0);
        self.u64(0);
        self.u64(FOREVER_SECONDS);
        self.zeros(abi::ENTRY_OUT_BYTES - 24);
    }

    /// `struct fuse_dirent` with its name and padding.
    pub(crate) fn dirent(&mut self, name: &[u8], ino: u64, next: u64, kind: u8) {
        self.u64(ino);
        self.u64(next);
        // Names are at most 256 bytes in every format served.
        self.u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
        self.u32(u32::from(kind));
        self.raw(name);
        let end = self.bytes.len().next_multiple_of(DIRENT_ALIGN);
        self.bytes.resize(end, 0);
    }
}

/// Bytes that a directory entry with a name of `name_len` bytes takes.
pub(crate) fn dirent_len(name_len: usize) -> usize {
    (DIRENT_BYTES + name_len).next_multiple_of(DIRENT_ALIGN)
}

/// A connection's device for answers; any thread may write any answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replier<'fd> {
    device: BorrowedFd<'fd>,
}

impl<'fd> Replier<'fd> {
    pub(crate) fn new(device: BorrowedFd<'fd>) -> Self {
        Self { device }
    }

    /// Reports failure of request `unique`.
    pub(crate) fn error(self, unique: u64, errno: Errno) -> Result<(), Errno> {
        let header = header(0, -errno.raw_os_error(), unique);
        self.write(&[IoSlice::new(&header)])
    }

    /// Answers request `unique` with `body`.
    pub(crate) fn data(self, unique: u64, body: &[u8]) -> Result<(), Errno> {
        let header = header(body.len(), 0, unique);
        self.write(&[IoSlice::new(&header), IoSlice::new(body)])
    }

    /// Answers request `unique` with file content, copied only by the kernel.
    pub(crate) fn segments(self, unique: u64, segments: &[Segment]) -> Result<(), Errno> {
        let total = segments.iter().map(Segment::len).sum();
        let header = header(total, 0, unique);
        let mut slices = Vec::with_capacity(1 + segments.len());
        slices.push(IoSlice::new(&header));
        push_slices(&mut slices, segments);
        self.write(&slices)
    }

    /// Sends a notification, which answers no request.
    pub(crate) fn notify(self, code: i32, body: &[u8]) -> Result<(), Errno> {
        let header = header(body.len(), code, 0);
        self.write(&[IoSlice::new(&header), IoSlice::new(body)])
    }

    /// Puts content of node `nodeid` at byte `offset` into the page cache, unasked
    /// (`FUSE_NOTIFY_STORE`).
    pub(crate) fn store(self, nodeid: u64, offset: u64, segments: &[Segment]) -> Result<(), Errno> {
        let total: usize = segments.iter().map(Segment::len).sum();
        let mut body = Encoder::default();
        body.u64(nodeid);
        body.u64(offset);
        body.u32(u32::try_from(total).map_err(|_| Errno::INVAL)?);
        body.u32(0);
        let header = header(body.len() + total, abi::notify::STORE, 0);
        let mut slices = Vec::with_capacity(2 + segments.len());
        slices.push(IoSlice::new(&header));
        slices.push(IoSlice::new(body.bytes()));
        push_slices(&mut slices, segments);
        self.write(&slices)
    }

    /// One message is one write: the device never takes a part.
    fn write(self, slices: &[IoSlice<'_>]) -> Result<(), Errno> {
        loop {
            match rustix::io::writev(self.device, slices) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn push_slices<'a>(slices: &mut Vec<IoSlice<'a>>, segments: &'a [Segment]) {
    for segment in segments {
        match segment {
            Segment::Bytes(bytes, range) => {
                slices.push(IoSlice::new(&bytes[range.clone()]));
            }
            Segment::Zeros(count) => {
                let mut left = *count;
                while left > 0 {
                    let part = left.min(ZEROS.len());
                    slices.push(IoSlice::new(&ZEROS[..part]));
                    left -= part;
                }
            }
        }
    }
}

/// `struct fuse_out_header` for a body of `body_len` bytes.
fn header(body_len: usize, error: i32, unique: u64) -> [u8; OUT_HEADER_BYTES] {
    let mut header = [0; OUT_HEADER_BYTES];
    // Bodies are bounded by the request's own 32-bit size field.
    let total = u32::try_from(OUT_HEADER_BYTES + body_len).unwrap_or(u32::MAX);
    header[0..4].copy_from_slice(&total.to_ne_bytes());
    header[4..8].copy_from_slice(&error.to_ne_bytes());
    header[8..16].copy_from_slice(&unique.to_ne_bytes());
    header
}
