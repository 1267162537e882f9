//! Directory listings: found by name through the index, read on from any entry.
//!
//! A listing is a sequence of runs: a header (what up to 256 entries have in common) and its
//! entries, sorted by name over the whole listing. A large directory's inode carries an index, an
//! entry about every 8 KiB: offset in the listing, block that holds it, first name there. So a
//! look-up reads the index and then one or two metadata blocks, and so does reading on.
//!
//! The cursor that callers keep is (offset of the run's header in the listing) << 9 | (number of
//! entries of that run to pass).

use std::cmp::Ordering;
use std::ops::ControlFlow;

use crate::format::bytes::index;
use crate::tree::{Entry, FileKind, NodeRef, TreeError};

use super::inode::{self, Directory, Index};
use super::metadata::{BLOCK_LEN, Cursor, Metadata, Place, Table};

/// Longest name, and most entries under one header.
const NAME_MAX: usize = 256;
const RUN_MAX: u32 = 256;

/// Lengths on disk of a header, and of an entry without its name.
const HEADER_LEN: u64 = 12;
const ENTRY_LEN: u64 = 8;

/// Bits of the caller's cursor that count entries: 0 to 256.
const COUNT_BITS: u32 = 9;

/// Finds and lists; borrows what it needs of the file system.
#[derive(Clone, Copy)]
pub(super) struct Directories<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) inodes: Table,
    pub(super) listings: Table,
}

impl<'a> Directories<'a> {
    /// The node called `name` in `directory`.
    pub(super) fn lookup(
        self,
        directory: &Directory,
        name: &[u8],
    ) -> Result<Option<NodeRef>, TreeError> {
        // Such a name can only come from a hostile image, where it must not be found.
        // And an empty directory's place may lie behind the last block.
        if !is_valid(name) || directory.len == 0 {
            return Ok(None);
        }
        let start = self.near(directory, |_, first| first <= name)?;
        let mut listing = self.listing(directory, start)?;
        let mut buffer = [0; NAME_MAX];
        while let Some(entry) = listing.next(&mut buffer)? {
            match entry.name.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(entry.node)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// Emits the entries from the caller's `cursor` on.
    pub(super) fn read(
        self,
        directory: &Directory,
        cursor: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
        let header = cursor >> COUNT_BITS;
        let passed = cursor & ((1 << COUNT_BITS) - 1);
        if header >= directory.len {
            return Ok(());
        }
        let start = self.near(directory, |offset, _| u64::from(offset) <= header)?;
        let mut listing = self.listing(directory, start)?;
        let skipped = header.saturating_sub(start.offset);
        listing.skip(skipped)?;
        let mut buffer = [0; NAME_MAX];
        for _ in 0..passed {
            if listing.next(&mut buffer)?.is_none() {
                return Ok(());
            }
        }
        while let Some(entry) = listing.next(&mut buffer)? {
            if !is_valid(entry.name) {
                return Err(listing.cursor.damaged("file name"));
            }
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The last place of the index that `fits` (they ascend), else the start of the listing.
    fn near(
        self,
        directory: &Directory,
        fits: impl Fn(u32, &[u8]) -> bool,
    ) -> Result<Start, TreeError> {
        let mut start = Start {
            offset: 0,
            block: directory.block,
        };
        let Some(Index { entries, place }) = directory.index else {
            return Ok(start);
        };
        let mut cursor = self.metadata.cursor(self.inodes, place)?;
        let mut buffer = [0; NAME_MAX];
        for _ in 0..entries {
            let offset = cursor.u32()?;
            let block = cursor.u32()?;
            let len = cursor.u32()?;
            let name = read_name(&mut cursor, len, &mut buffer)?;
            if !fits(offset, name) {
                break;
            }
            start = Start {
                offset: u64::from(offset),
                block,
            };
        }
        Ok(start)
    }

    fn listing(self, directory: &Directory, start: Start) -> Result<Listing<'a>, TreeError> {
        let offset = start
            .offset
            .saturating_add(u64::from(directory.offset))
            .checked_rem(BLOCK_LEN as u64)
            .unwrap_or(0);
        let place = Place {
            block: self.listings.start.saturating_add(u64::from(start.block)),
            offset: index(offset),
        };
        Ok(Listing {
            cursor: self.metadata.cursor(self.listings, place)?,
            at: start.offset,
            len: directory.len,
            run: Run::default(),
        })
    }
}

/// A place in a listing where a run begins.
#[derive(Clone, Copy)]
struct Start {
    /// Offset in the listing.
    offset: u64,
    /// Block that holds it, counted from the directory table.
    block: u32,
}

/// The header being worked through.
#[derive(Clone, Copy, Default)]
struct Run {
    /// Offset of the header in the listing.
    header: u64,
    left: u32,
    passed: u64,
    /// Block of the inodes.
    block: u32,
    /// Number that the entries' inode numbers are relative to.
    number: u32,
}

struct Listing<'a> {
    cursor: Cursor<'a>,
    /// Offset of `cursor` in the listing.
    at: u64,
    len: u64,
    run: Run,
}

impl Listing<'_> {
    fn skip(&mut self, count: u64) -> Result<(), TreeError> {
        self.at = self.at.saturating_add(count);
        self.cursor.skip(count)
    }

    fn next<'b>(&mut self, buffer: &'b mut [u8; NAME_MAX]) -> Result<Option<Entry<'b>>, TreeError> {
        if self.run.left == 0 {
            if self.at >= self.len {
                return Ok(None);
            }
            self.begin_run()?;
        }
        let [offset0, offset1, number0, number1, kind0, kind1, len0, len1] = self.cursor.array()?;
        let offset = u16::from_le_bytes([offset0, offset1]);
        let number = i16::from_le_bytes([number0, number1]);
        let kind = kind_of(u16::from_le_bytes([kind0, kind1]))
            .ok_or_else(|| self.cursor.damaged("entry type"))?;
        let len = u16::from_le_bytes([len0, len1]);
        let name = read_name(&mut self.cursor, u32::from(len), buffer)?;
        self.at = self
            .at
            .saturating_add(ENTRY_LEN)
            .saturating_add(name.len() as u64);
        if self.at > self.len {
            return Err(self.cursor.damaged("directory longer than its size"));
        }
        self.run.left = self.run.left.saturating_sub(1);
        self.run.passed = self.run.passed.saturating_add(1);
        let node = inode::join(self.run.block, offset)
            .ok_or_else(|| self.cursor.damaged("inode reference"))?;
        Ok(Some(Entry {
            name,
            node,
            ino: u64::from(self.run.number.wrapping_add_signed(i32::from(number))),
            kind,
            next: (self.run.header << COUNT_BITS) | self.run.passed,
        }))
    }

    fn begin_run(&mut self) -> Result<(), TreeError> {
        let header = self.at;
        let count = self.cursor.u32()?.saturating_add(1);
        let block = self.cursor.u32()?;
        let number = self.cursor.u32()?;
        if count > RUN_MAX {
            return Err(self.cursor.damaged("number of directory entries"));
        }
        self.at = self.at.saturating_add(HEADER_LEN);
        self.run = Run {
            header,
            left: count,
            passed: 0,
            block,
            number,
        };
        Ok(())
    }
}

/// Reads a name whose length is stored less one.
fn read_name<'b>(
    cursor: &mut Cursor<'_>,
    len: u32,
    buffer: &'b mut [u8; NAME_MAX],
) -> Result<&'b [u8], TreeError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(1);
    let name = buffer
        .get_mut(..len)
        .ok_or_else(|| cursor.damaged("length of a file name"))?;
    cursor.fill(name)?;
    Ok(name)
}

/// Whether a name may stand in a directory: nothing that leads elsewhere.
fn is_valid(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Entries carry the basic type even for extended inodes.
fn kind_of(number: u16) -> Option<FileKind> {
    Some(match number {
        1 => FileKind::Directory,
        2 => FileKind::Regular,
        3 => FileKind::Symlink,
        4 => FileKind::BlockDevice,
        5 => FileKind::CharDevice,
        6 => FileKind::Fifo,
        7 => FileKind::Socket,
        _ => return None,
    })
}
