//! What the caller may choose, and what the image says of its compressor.

use std::thread;

use crate::decompress::Codec;
use crate::format::bytes::Fields;

use super::SquashfsError;
use super::superblock::{SUPERBLOCK_LEN, Superblock};

/// The most that any compressor's options take.
const OPTIONS_LEN: usize = 8;

/// Bytes read at open: the superblock, and compressor options with their header.
pub(super) const READ_LEN: usize = SUPERBLOCK_LEN + 2 + OPTIONS_LEN;

/// Blocks of the largest size that each thread should find room for, however small the budget.
const BLOCKS_PER_THREAD: usize = 3;

/// Above this the number of threads no longer raises the budget.
const RAISED_MAX: usize = 192 << 20;

/// Memory that a file system may use for what it has decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SquashfsOptions {
    /// For inodes, directories and tables.
    pub metadata_cache_bytes: usize,
    /// For data and fragment blocks. Raised where it would not hold a few blocks for each
    /// processor, which would decode the same blocks again and again.
    pub data_cache_bytes: usize,
}

impl Default for SquashfsOptions {
    fn default() -> Self {
        Self {
            metadata_cache_bytes: 32 << 20,
            data_cache_bytes: 64 << 20,
        }
    }
}

impl SquashfsOptions {
    pub(super) fn data_cache_bytes_for(self, block_size: u32) -> usize {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let block_size = usize::try_from(block_size).unwrap_or(usize::MAX);
        let least = threads
            .saturating_mul(BLOCKS_PER_THREAD)
            .saturating_mul(block_size)
            .min(RAISED_MAX);
        self.data_cache_bytes.max(least)
    }
}

/// What an image says of how it was compressed; decoding needs none of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressorOptions {
    /// gzip.
    Gzip {
        /// 1 to 9.
        level: u32,
        /// Logarithm of the window: 8 to 15.
        window: u16,
        /// Strategies that were tried, as bits.
        strategies: u16,
    },
    /// lzo.
    Lzo {
        /// Which variant of LZO1X compressed; they decode alike.
        algorithm: u32,
        /// 1 to 9.
        level: u32,
    },
    /// xz.
    Xz {
        /// Size of the dictionary in bytes.
        dictionary: u32,
        /// Filters for machine code that were tried, as bits.
        filters: u32,
    },
    /// lz4.
    Lz4 {
        /// Whether the high-compression variant was used; they decode alike.
        high: bool,
    },
    /// zstd.
    Zstd {
        /// 1 to 22.
        level: u32,
    },
}

/// The only LZ4 format that was ever used.
const LZ4_LEGACY: u32 = 1;

/// Parses the options behind the superblock; `start` holds both.
pub(super) fn parse(
    superblock: &Superblock,
    start: &[u8],
) -> Result<Option<CompressorOptions>, SquashfsError> {
    if !superblock.flags.compressor_options() {
        return Ok(None);
    }
    let parse = || {
        let mut fields = Fields::new(start.get(SUPERBLOCK_LEN..)?);
        // A metadata block that is always stored as it is.
        let len = usize::from(fields.u16()? & 0x7FFF).min(OPTIONS_LEN);
        let mut fields = Fields::new(fields.bytes(len)?);
        Some(match superblock.codec {
            Codec::Gzip => CompressorOptions::Gzip {
                level: fields.u32()?,
                window: fields.u16()?,
                strategies: fields.u16()?,
            },
            Codec::Lzo => CompressorOptions::Lzo {
                algorithm: fields.u32()?,
                level: fields.u32()?,
            },
            Codec::Xz => CompressorOptions::Xz {
                dictionary: fields.u32()?,
                filters: fields.u32()?,
            },
            Codec::Lz4 => {
                if fields.u32()? != LZ4_LEGACY {
                    return None;
                }
                CompressorOptions::Lz4 {
                    high: fields.u32()? & 1 != 0,
                }
            }
            Codec::Zstd => CompressorOptions::Zstd {
                level: fields.u32()?,
            },
        })
    };
    parse().map(Some).ok_or(SquashfsError::CompressorOptions)
}
