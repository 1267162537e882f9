//! From inode numbers to nodes, which is how a directory names its parent.
//!
//! Images made with an export table (mksquashfs's default) answer at once. In others the inodes
//! are gone through, one after the other as they lie in their table; that is slow, so answers are
//! remembered.

use skiff_cache::memory::{MemoryCache, Weigh};

use crate::tree::{NodeRef, TreeError};

use super::Squashfs;
use super::inode::{Body, Inode};
use super::lookup::Lookup;
use super::metadata::Place;

/// Memory for remembered answers.
const FOUND_BYTES: usize = 1 << 20;

/// Bytes of the number of the attributes behind a symbolic link's target.
const XATTR_LEN: u64 = 4;

/// Bytes of a block size in a file's list.
const WORD_LEN: u64 = 4;

#[derive(Clone, Copy, Debug)]
struct Found(Option<NodeRef>);

impl Weigh for Found {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

#[derive(Debug)]
pub(super) struct Numbers {
    export: Option<Lookup>,
    found: MemoryCache<u64, Found>,
}

impl Numbers {
    pub(super) fn new(export: Option<Lookup>) -> Self {
        Self {
            export,
            found: MemoryCache::new(FOUND_BYTES),
        }
    }

    pub(super) fn find(
        &self,
        squashfs: &Squashfs,
        number: u32,
    ) -> Result<Option<NodeRef>, TreeError> {
        // Numbers count from 1.
        let Some(place) = number.checked_sub(1) else {
            return Ok(None);
        };
        if number > squashfs.superblock.inodes {
            return Ok(None);
        }
        if let Some(table) = self.export {
            let reference = table.get(&squashfs.metadata, u64::from(place))?;
            return Ok(NodeRef::new(u64::from_le_bytes(reference)));
        }
        self.found
            .get_or_try_insert_with(u64::from(number), || scan(squashfs, number).map(Found))
            .map(|found| found.0)
    }
}

/// Goes through the inode table. Inodes lie in it without gaps.
fn scan(squashfs: &Squashfs, number: u32) -> Result<Option<NodeRef>, TreeError> {
    let table = squashfs.inodes;
    let start = Place {
        block: table.start,
        offset: 0,
    };
    let mut cursor = squashfs.metadata.cursor(table, start)?;
    for _ in 0..squashfs.superblock.inodes {
        // At the end of a block the place is still there; the inode is in the next one.
        cursor.part(1)?;
        let place = cursor.place();
        let inode = Inode::read(&mut cursor)?;
        if inode.number == number {
            let block = place.block.saturating_sub(table.start);
            let offset = place.offset as u64;
            return Ok(NodeRef::new((block << 16) | offset));
        }
        match inode.body {
            Body::File(file) => {
                let blocks = squashfs.data.whole_blocks(&file);
                cursor.skip(blocks.saturating_mul(WORD_LEN))?;
            }
            Body::Symlink(link) => {
                let behind = if link.extended { XATTR_LEN } else { 0 };
                cursor.skip(link.len.saturating_add(behind))?;
            }
            Body::Directory(directory) => {
                for _ in 0..directory.index.map_or(0, |index| index.entries) {
                    cursor.skip(8)?;
                    let len = u64::from(cursor.u32()?).saturating_add(1);
                    cursor.skip(len)?;
                }
            }
            Body::Device { .. } | Body::Pipe { .. } => {}
        }
    }
    Ok(None)
}
