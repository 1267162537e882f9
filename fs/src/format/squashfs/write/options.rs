//! What the caller may choose.

use crate::decompress::Codec;

/// zstd's level where none is asked for: see `benches/results` for how it compares.
const ZSTD_LEVEL: i32 = 6;

/// Level that gzip's 9, which is mksquashfs's default, stands for.
const GZIP_LEVEL: i32 = 9;

/// How blocks are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compressor {
    /// DEFLATE with the zlib frame.
    Gzip {
        /// 1 to 9.
        level: i32,
    },
    /// XZ container.
    Xz {
        /// Bytes of dictionary; the size of a block where there is no wish.
        dictionary: Option<u32>,
    },
    /// LZ4 block.
    Lz4,
    /// LZO1X without a frame.
    Lzo,
    /// Zstandard frame.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl Compressor {
    /// gzip as mksquashfs has it by default.
    pub const GZIP: Self = Self::Gzip { level: GZIP_LEVEL };

    /// zstd with the level that skiff has found best.
    pub const ZSTD: Self = Self::Zstd { level: ZSTD_LEVEL };

    /// What decodes it.
    pub const fn codec(self) -> Codec {
        match self {
            Self::Gzip { .. } => Codec::Gzip,
            Self::Xz { .. } => Codec::Xz,
            Self::Lz4 => Codec::Lz4,
            Self::Lzo => Codec::Lzo,
            Self::Zstd { .. } => Codec::Zstd,
        }
    }
}

/// How a file system is written. The default is what `mksquashfs -noappend` does, but for zstd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// Compression.
    pub compressor: Compressor,
    /// A power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Threads that compress; 0 for as many as there are processors.
    pub threads: usize,
    /// When the file system was made, Unix seconds.
    pub time: i64,
    /// Modification time of all files, where it is not to be their own.
    pub all_time: Option<i64>,
    /// Files have no later modification time than this.
    pub latest_time: Option<i64>,
    /// Owner of all files, where it is not to be their own.
    pub uid: Option<u32>,
    /// Group of all files, where it is not to be their own.
    pub gid: Option<u32>,
    /// Whether extended attributes are kept.
    pub xattrs: bool,
    /// Whether files smaller than a block share blocks.
    pub fragments: bool,
    /// Whether the ends of larger files do, too.
    pub always_use_fragments: bool,
    /// Whether files with the same content are stored once.
    pub duplicates: bool,
    /// Whether there is a table that leads from inode numbers to inodes.
    pub exports: bool,
    /// Whether blocks of zeros become holes.
    pub sparse: bool,
    /// Whether files' blocks are compressed.
    pub compress_data: bool,
    /// Whether fragments are compressed.
    pub compress_fragments: bool,
    /// Whether inodes, directories and tables are compressed.
    pub compress_inodes: bool,
    /// Whether the table of owners is compressed.
    pub compress_ids: bool,
    /// Whether extended attributes are compressed.
    pub compress_xattrs: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            compressor: Compressor::ZSTD,
            block_size: 128 << 10,
            threads: 0,
            time: 0,
            all_time: None,
            latest_time: None,
            uid: None,
            gid: None,
            xattrs: true,
            fragments: true,
            always_use_fragments: false,
            duplicates: true,
            exports: true,
            sparse: true,
            compress_data: true,
            compress_fragments: true,
            compress_inodes: true,
            compress_ids: true,
            compress_xattrs: true,
        }
    }
}

impl WriteOptions {
    /// What is wrong, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let size = self.block_size;
        if !size.is_power_of_two() || !(4 << 10..=1 << 20).contains(&size) {
            return Err(format!(
                "squashfs blocks have 4K to 1M bytes, a power of two, not {size}"
            ));
        }
        let (name, level, most) = match self.compressor {
            Compressor::Gzip { level } => ("gzip", level, 9),
            Compressor::Zstd { level } => ("zstd", level, 22),
            Compressor::Xz { .. } | Compressor::Lz4 | Compressor::Lzo => return Ok(()),
        };
        if !(1..=most).contains(&level) {
            return Err(format!("{name} has levels 1 to {most}, not {level}"));
        }
        Ok(())
    }

    /// The modification time to store for a file that has `mtime`.
    pub(super) fn mtime(&self, mtime: i64) -> u32 {
        let time = self.all_time.unwrap_or(mtime);
        let time = self.latest_time.map_or(time, |latest| time.min(latest));
        stored_time(time)
    }
}

/// 32 bits without a sign on disk.
pub(super) fn stored_time(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX)
}
