//! The first 96 bytes: what the file system is made of and where its tables lie.
//!
//! ```text
//! superblock · compressor options · data and fragments · inodes · directories · fragment table ·
//! export table · id table · xattr tables                (the last four may be absent or reordered)
//! ```

use crate::decompress::Codec;
use crate::format::bytes::Fields;

use super::SquashfsError;

/// Length of the structure on disk.
pub const SUPERBLOCK_LEN: usize = 96;

/// `hsqs`.
pub const MAGIC: [u8; 4] = *b"hsqs";

/// Start of a table that the image lacks.
const ABSENT: u64 = u64::MAX;

/// Properties the writer noted. Those about what is stored uncompressed only repeat what each
/// block says of itself, so nothing here depends on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u16);

impl Flags {
    const NO_FRAGMENTS: u16 = 0x0010;
    const EXPORTABLE: u16 = 0x0080;
    const NO_XATTRS: u16 = 0x0200;
    const COMPRESSOR_OPTIONS: u16 = 0x0400;

    /// The bits as they are on disk.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// No file has its tail in a fragment.
    pub const fn no_fragments(self) -> bool {
        self.0 & Self::NO_FRAGMENTS != 0
    }

    /// There is a table from inode numbers to inodes.
    pub const fn exportable(self) -> bool {
        self.0 & Self::EXPORTABLE != 0
    }

    /// Extended attributes were left out.
    pub const fn no_xattrs(self) -> bool {
        self.0 & Self::NO_XATTRS != 0
    }

    /// Compressor options follow the superblock.
    pub const fn compressor_options(self) -> bool {
        self.0 & Self::COMPRESSOR_OPTIONS != 0
    }
}

/// The superblock, its fields checked against each other and the length of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Number of inodes; they are numbered from 1.
    pub inodes: u32,
    /// When the image was made, Unix seconds.
    pub made: u32,
    /// Size of a full data block: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Number of fragment blocks.
    pub fragments: u32,
    /// Compression of all blocks that are compressed.
    pub codec: Codec,
    /// Properties.
    pub flags: Flags,
    /// Number of different user and group ids.
    pub ids: u16,
    /// Reference of the root directory's inode.
    pub root: u64,
    /// Length of the file system in bytes.
    pub bytes_used: u64,
    /// Start of the list of id blocks.
    pub id_table: u64,
    /// Start of the extended attribute id table.
    pub xattr_table: Option<u64>,
    /// Start of the inode metadata.
    pub inode_table: u64,
    /// Start of the directory metadata.
    pub directory_table: u64,
    /// Start of the list of fragment table blocks.
    pub fragment_table: Option<u64>,
    /// Start of the list of export table blocks.
    pub export_table: Option<u64>,
}

impl Superblock {
    /// Parses `bytes`, the start of a file system in a source of `size` bytes.
    ///
    /// # Errors
    /// [`SquashfsError`], naming the first field that cannot be.
    pub fn parse(bytes: &[u8], size: u64) -> Result<Self, SquashfsError> {
        let raw = Raw::parse(bytes).ok_or(SquashfsError::TooShort { size })?;
        if raw.magic != MAGIC {
            return Err(SquashfsError::NotSquashfs);
        }
        if (raw.major, raw.minor) != (4, 0) {
            return Err(SquashfsError::Version {
                major: raw.major,
                minor: raw.minor,
            });
        }
        let codec = match raw.compression {
            1 => Codec::Gzip,
            2 => return Err(SquashfsError::LegacyLzma),
            3 => Codec::Lzo,
            4 => Codec::Xz,
            5 => Codec::Lz4,
            6 => Codec::Zstd,
            id => return Err(SquashfsError::Compressor { id }),
        };
        let sizes = 12..=20;
        if !sizes.contains(&raw.block_log)
            || 1_u32.checked_shl(u32::from(raw.block_log)) != Some(raw.block_size)
        {
            return Err(SquashfsError::BlockSize {
                size: raw.block_size,
                log: raw.block_log,
            });
        }
        if raw.bytes_used > size {
            return Err(SquashfsError::Truncated {
                expected: raw.bytes_used,
                size,
            });
        }
        raw.check_tables()?;
        let present = |start: u64| (start != ABSENT).then_some(start);
        Ok(Self {
            inodes: raw.inodes,
            made: raw.made,
            block_size: raw.block_size,
            fragments: raw.fragments,
            codec,
            flags: Flags(raw.flags),
            ids: raw.ids,
            root: raw.root,
            bytes_used: raw.bytes_used,
            id_table: raw.id_table,
            xattr_table: present(raw.xattr_table),
            inode_table: raw.inode_table,
            directory_table: raw.directory_table,
            // Writers without fragments may leave any start there.
            fragment_table: present(raw.fragment_table).filter(|_| raw.fragments > 0),
            export_table: present(raw.export_table),
        })
    }

    /// Where metadata that starts at `start` must end at the latest: the next table, or the end.
    pub(super) fn table_end(&self, start: u64) -> u64 {
        [
            Some(self.inode_table),
            Some(self.directory_table),
            self.fragment_table,
            self.export_table,
            Some(self.id_table),
            self.xattr_table,
        ]
        .into_iter()
        .flatten()
        .filter(|other| *other > start)
        .fold(self.bytes_used, u64::min)
    }
}

/// The structure as it lies on disk.
struct Raw {
    magic: [u8; 4],
    inodes: u32,
    made: u32,
    block_size: u32,
    fragments: u32,
    compression: u16,
    block_log: u16,
    flags: u16,
    ids: u16,
    major: u16,
    minor: u16,
    root: u64,
    bytes_used: u64,
    id_table: u64,
    xattr_table: u64,
    inode_table: u64,
    directory_table: u64,
    fragment_table: u64,
    export_table: u64,
}

impl Raw {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            magic: fields.array()?,
            inodes: fields.u32()?,
            made: fields.u32()?,
            block_size: fields.u32()?,
            fragments: fields.u32()?,
            compression: fields.u16()?,
            block_log: fields.u16()?,
            flags: fields.u16()?,
            ids: fields.u16()?,
            major: fields.u16()?,
            minor: fields.u16()?,
            root: fields.u64()?,
            bytes_used: fields.u64()?,
            id_table: fields.u64()?,
            xattr_table: fields.u64()?,
            inode_table: fields.u64()?,
            directory_table: fields.u64()?,
            fragment_table: fields.u64()?,
            export_table: fields.u64()?,
        })
    }

    /// Each table that is there must start behind the superblock and before the end; inodes come
    /// before directories (Linux requires both as well).
    fn check_tables(&self) -> Result<(), SquashfsError> {
        let fragments = if self.fragments == 0 {
            ABSENT
        } else if self.fragment_table == ABSENT {
            // Checked as a start below, where it cannot pass.
            self.bytes_used
        } else {
            self.fragment_table
        };
        let tables = [
            ("inode table", self.inode_table, false),
            ("directory table", self.directory_table, false),
            ("id table", self.id_table, false),
            ("fragment table", fragments, true),
            ("export table", self.export_table, true),
            ("extended attribute table", self.xattr_table, true),
        ];
        for (what, start, may_be_absent) in tables {
            let inside = start >= SUPERBLOCK_LEN as u64 && start < self.bytes_used;
            let absent = may_be_absent && start == ABSENT;
            if !inside && !absent {
                return Err(SquashfsError::Table { what, start });
            }
        }
        if self.inode_table >= self.directory_table {
            return Err(SquashfsError::Table {
                what: "directory table",
                start: self.directory_table,
            });
        }
        if self.ids == 0 {
            return Err(SquashfsError::NoIds);
        }
        Ok(())
    }
}
