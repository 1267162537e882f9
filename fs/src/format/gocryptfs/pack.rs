//! Makes an encrypted partition of a squashfs file: the outer file system with its two files,
//! stored as they are, since neither can be compressed.
//!
//! ```text
//! superblock │ gocryptfs.conf │ squashfs-1, sealed │ inodes │ root directory │ owners
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::GocryptfsError;
use super::config::Config;
use super::content::{BLOCK, Gcm, ID_LEN, header};
use crate::crypt::fill_random;

/// Data blocks of the outer file system.
const OUTER_BLOCK: u64 = 128 * 1024;

/// Logarithm of that.
const OUTER_BLOCK_LOG: u16 = 17;

/// Length of the superblock.
const SUPERBLOCK_LEN: u64 = 96;

/// Content of a block of metadata.
const METADATA_BLOCK: usize = 8192;

/// Marks of what is stored as it is.
const STORED_METADATA: u16 = 0x8000;
const STORED_DATA: u32 = 1 << 24;

/// Inodes, data, fragments and ids are stored; there are no fragments and attributes.
const FLAGS: u16 = 0x0001 | 0x0002 | 0x0008 | 0x0010 | 0x0200 | 0x0800;

/// A table that is not there.
const NONE: u64 = u64::MAX;

/// Bytes are encrypted by so many blocks.
const STEP: usize = 64;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Length of the partition.
    pub len: u64,
}

/// Writes the partition to `to` from byte `offset` on: `size` bytes of `plain`, sealed with
/// `secret`. `time` is in Unix seconds.
///
/// # Errors
/// When `plain` ends early, or writing fails.
pub fn pack(
    plain: &mut dyn Read,
    size: u64,
    secret: &[u8],
    to: &File,
    offset: u64,
    time: u32,
) -> Result<Packed, GocryptfsError> {
    let (config, key) = Config::create(secret)?;
    let config = config.text()?;
    let mut out = Output {
        file: to,
        base: offset,
        at: SUPERBLOCK_LEN,
    };
    let config_start = out.at;
    out.write(&config)?;
    let content_start = out.at;
    encrypt(plain, size, &Gcm::new(&key), &mut out)?;
    let content_len = out.at.saturating_sub(content_start);
    let inodes = Inodes::new(
        time,
        (config_start, config.len() as u64),
        (content_start, content_len),
    );
    let inode_table = out.at;
    out.metadata(&inodes.table)?;
    let directory_table = out.at;
    out.metadata(&inodes.listing)?;
    let ids = out.at;
    // One owner: root.
    out.metadata(&0_u32.to_le_bytes())?;
    let id_table = out.at;
    out.write(&ids.to_le_bytes())?;
    let used = out.at;
    out.write(&vec![0; padding(used)])?;
    let superblock = superblock(
        time,
        inodes.root,
        used,
        [id_table, inode_table, directory_table],
    );
    to.write_all_at(&superblock, offset)?;
    Ok(Packed { len: out.at })
}

/// Seals `size` bytes of `plain`.
fn encrypt(
    plain: &mut dyn Read,
    size: u64,
    gcm: &Gcm,
    out: &mut Output<'_>,
) -> Result<(), GocryptfsError> {
    let mut id = [0; ID_LEN];
    fill_random(&mut id)?;
    if size == 0 {
        return Ok(());
    }
    out.write(&header(&id))?;
    let mut rest = plain.take(size);
    let mut number = 0;
    let mut done = 0_u64;
    let mut content = vec![0; BLOCK.saturating_mul(STEP)];
    let mut sealed = Vec::new();
    loop {
        let count = fill(&mut rest, &mut content)?;
        if count == 0 {
            break;
        }
        done = done.saturating_add(count as u64);
        sealed.clear();
        for block in content.get(..count).unwrap_or_default().chunks(BLOCK) {
            gcm.seal(number, &id, block, &mut sealed)?;
            number = number.saturating_add(1);
        }
        out.write(&sealed)?;
    }
    if done != size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(())
}

/// Reads until `buffer` is full or nothing is left.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0_usize;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => done = done.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Zeros that bring the file system to a whole number of pages.
fn padding(used: u64) -> usize {
    let whole = used.next_multiple_of(4096);
    usize::try_from(whole.saturating_sub(used)).unwrap_or(0)
}

/// The file, written from front to back.
struct Output<'a> {
    file: &'a File,
    base: u64,
    at: u64,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.base.saturating_add(self.at);
        self.file.write_all_at(bytes, at)?;
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn metadata(&mut self, content: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for block in content.chunks(METADATA_BLOCK) {
            let len = u16::try_from(block.len()).unwrap_or(0);
            bytes.extend_from_slice(&(STORED_METADATA | len).to_le_bytes());
            bytes.extend_from_slice(block);
        }
        self.write(&bytes)
    }
}

/// The three inodes and the listing of the root.
struct Inodes {
    table: Vec<u8>,
    listing: Vec<u8>,
    /// Reference of the root's inode.
    root: u64,
}

impl Inodes {
    /// Places are first byte and length.
    fn new(time: u32, config: (u64, u64), content: (u64, u64)) -> Self {
        let mut table = Vec::new();
        // The block lists come last, so that all inodes begin in the first block of the table.
        file(&mut table, 1, 0o400, time, config);
        let root = table.len();
        let config_name = b"gocryptfs.conf".as_slice();
        let content_name = b"squashfs-1".as_slice();
        let mut listing = Vec::new();
        // A directory's inode takes 32 bytes.
        let content_at = root.saturating_add(32);
        for word in [1_u32, 0, 1] {
            listing.extend_from_slice(&word.to_le_bytes());
        }
        for (at, delta, name) in [(0, 0_u16, config_name), (content_at, 2, content_name)] {
            let at = u16::try_from(at).unwrap_or(0);
            let len = u16::try_from(name.len().saturating_sub(1)).unwrap_or(0);
            for word in [at, delta, 2, len] {
                listing.extend_from_slice(&word.to_le_bytes());
            }
            listing.extend_from_slice(name);
        }
        let listed = u16::try_from(listing.len().saturating_add(3)).unwrap_or(0);
        common(&mut table, 1, 0o755, time, 2);
        table.extend_from_slice(&0_u32.to_le_bytes());
        table.extend_from_slice(&2_u32.to_le_bytes());
        table.extend_from_slice(&listed.to_le_bytes());
        table.extend_from_slice(&0_u16.to_le_bytes());
        // No parent: one more than the last inode.
        table.extend_from_slice(&4_u32.to_le_bytes());
        file(&mut table, 3, 0o644, time, content);
        Self {
            table,
            listing,
            root: root as u64,
        }
    }
}

/// What every inode begins with.
fn common(table: &mut Vec<u8>, kind: u16, permissions: u16, time: u32, number: u32) {
    for word in [kind, permissions, 0, 0] {
        table.extend_from_slice(&word.to_le_bytes());
    }
    table.extend_from_slice(&time.to_le_bytes());
    table.extend_from_slice(&number.to_le_bytes());
}

/// A file's inode of the extended kind, which has room for any length.
fn file(table: &mut Vec<u8>, number: u32, permissions: u16, time: u32, (start, len): (u64, u64)) {
    common(table, 9, permissions, time, number);
    for word in [start, len, 0] {
        table.extend_from_slice(&word.to_le_bytes());
    }
    // One link, no fragment, no attributes.
    for word in [1, u32::MAX, 0, u32::MAX] {
        table.extend_from_slice(&word.to_le_bytes());
    }
    let mut rest = len;
    while rest > 0 {
        let block = rest.min(OUTER_BLOCK);
        let word = u32::try_from(block).unwrap_or(0) | STORED_DATA;
        table.extend_from_slice(&word.to_le_bytes());
        rest = rest.saturating_sub(block);
    }
}

fn superblock(time: u32, root: u64, used: u64, tables: [u64; 3]) -> Vec<u8> {
    let [ids, inodes, directories] = tables;
    let block_size = u32::try_from(OUTER_BLOCK).unwrap_or(0);
    let mut bytes = b"hsqs".to_vec();
    // Inodes, time, size of blocks, fragments.
    for word in [3, time, block_size, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    // gzip, logarithm of blocks, flags, owners, version 4.0.
    for word in [1, OUTER_BLOCK_LOG, FLAGS, 1, 4, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for word in [root, used, ids, NONE, inodes, directories, NONE, NONE] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}
