//! The first bytes: superblock and compressor options.

use super::options::{Compressor, WriteOptions, stored_time};
use crate::format::squashfs::{MAGIC, SUPERBLOCK_LEN};

/// Length of the superblock.
pub(super) const LEN: u64 = SUPERBLOCK_LEN as u64;

/// Start of a table that is not there.
pub(super) const ABSENT: u64 = u64::MAX;

/// Levels that are not noted, since readers take them for granted.
const GZIP_USUAL: i32 = 9;
const ZSTD_USUAL: i32 = 15;

const GZIP_WINDOW: u16 = 15;
const LZ4_LEGACY: u32 = 1;

/// A metadata block that is stored as it is.
const STORED: u16 = 0x8000;

/// What is known when all is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) options: WriteOptions,
    pub(super) inodes: u32,
    pub(super) fragments: u32,
    pub(super) ids: u16,
    pub(super) root: u64,
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
    pub(super) export_table: u64,
}

impl Superblock {
    pub(super) fn encode(&self) -> Vec<u8> {
        let options = &self.options;
        let compression: u16 = match options.compressor {
            Compressor::Gzip { .. } => 1,
            Compressor::Lzo => 3,
            Compressor::Xz { .. } => 4,
            Compressor::Lz4 => 5,
            Compressor::Zstd { .. } => 6,
        };
        // A power of two of at most 1 MiB.
        let log = u16::try_from(options.block_size.trailing_zeros()).unwrap_or(0);
        let mut bytes = MAGIC.to_vec();
        for number in [
            self.inodes,
            stored_time(options.time),
            options.block_size,
            self.fragments,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [compression, log, self.flags(), self.ids, 4, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.root,
            self.bytes_used,
            self.id_table,
            self.xattr_table,
            self.inode_table,
            self.directory_table,
            self.fragment_table,
            self.export_table,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn flags(&self) -> u16 {
        let options = &self.options;
        [
            (0x0001, !options.compress_inodes),
            (0x0002, !options.compress_data),
            (0x0008, !options.compress_fragments),
            (0x0010, !options.fragments),
            (0x0020, options.always_use_fragments),
            (0x0040, options.duplicates),
            (0x0080, options.exports),
            (0x0100, !options.compress_xattrs),
            (0x0200, !options.xattrs),
            (0x0400, !compressor_options(options).is_empty()),
            (0x0800, !options.compress_ids),
        ]
        .into_iter()
        .filter(|(_, set)| *set)
        .fold(0, |all, (bit, _)| all | bit)
    }
}

/// The block that follows the superblock; empty when there is nothing to say.
pub(super) fn compressor_options(options: &WriteOptions) -> Vec<u8> {
    let unsigned = |level: i32| u32::try_from(level).unwrap_or(0).to_le_bytes();
    let content: Vec<u8> = match options.compressor {
        Compressor::Gzip { level } if level != GZIP_USUAL => {
            let [low, high] = GZIP_WINDOW.to_le_bytes();
            [unsigned(level), [low, high, 0, 0]].concat()
        }
        Compressor::Zstd { level } if level != ZSTD_USUAL => unsigned(level).to_vec(),
        Compressor::Xz {
            dictionary: Some(size),
        } if size != options.block_size => [size.to_le_bytes(), [0; 4]].concat(),
        Compressor::Lz4 => [LZ4_LEGACY.to_le_bytes(), [0; 4]].concat(),
        Compressor::Gzip { .. }
        | Compressor::Zstd { .. }
        | Compressor::Xz { .. }
        | Compressor::Lzo => {
            return Vec::new();
        }
    };
    let header = u16::try_from(content.len()).unwrap_or(0) | STORED;
    [&header.to_le_bytes()[..], &content].concat()
}
