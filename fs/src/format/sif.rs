//! SIF, the Singularity Image Format, version 1: a table of described objects in one file.
//!
//! ```text
//! 0      header (128 bytes)
//! 4096   descriptor table, normally 48 slots of 585 bytes
//! 32176  objects: definition, JSON, squashfs partition, signatures ...
//! ```
//! Where the table lies comes from the header; older writers used other numbers. The format has
//! no checksums and writers do not look at counts and offsets, so all are compared here with the
//! length of the file: a descriptor that was read describes bytes that are there.

mod codes;
mod descriptor;
pub mod edit;
mod header;
pub mod image;
pub mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use codes::{
    Arch, DataType, FsType, HashType, MessageFormat, MessageType, PartitionType, SbomFormat,
};
pub use descriptor::{DESCRIPTOR_LEN, Descriptor, Extra, Link};
pub use header::{HEADER_LEN, Header, LAUNCH_SCRIPT, MAGIC};
pub use image::ImageParts;
pub use writer::{NewObject, Writer, WriterOptions};

use std::io;
use std::sync::Arc;

use crate::format::bytes::index;
use crate::source::{Source, Window};

/// Most descriptors that are read. Images have a handful, an OCI-SIF some dozens; the limit keeps
/// the table of a hostile file below 10 MB.
pub const DESCRIPTORS_MAX: u64 = 16_384;

/// Why a file is no valid SIF.
#[derive(Debug, thiserror::Error)]
pub enum SifError {
    /// The magic is not where it must be.
    #[error("not a SIF: no magic at byte 32")]
    NotSif,
    /// The file ends before the header does.
    #[error("SIF header cut off: the file has only {size} bytes")]
    TooShort {
        /// Length of the file.
        size: u64,
    },
    /// A version other than 01.
    #[error("incompatible SIF version {found:?}")]
    Version {
        /// What stands there.
        found: String,
    },
    /// A number in the header that cannot be.
    #[error("SIF header: {field} at byte {at} is {value}, which is {problem}")]
    Header {
        /// Name of the field.
        field: &'static str,
        /// Where it stands in the file.
        at: u64,
        /// What it says.
        value: i64,
        /// What is wrong with that.
        problem: &'static str,
    },
    /// A number in a descriptor that cannot be.
    #[error("SIF object {id}: {field} at byte {at} is {value}, which is {problem}")]
    Descriptor {
        /// The object.
        id: u32,
        /// Name of the field.
        field: &'static str,
        /// Where it stands in the file.
        at: u64,
        /// What it says.
        value: i64,
        /// What is wrong with that.
        problem: &'static str,
    },
    /// A partition type that one object at most may have.
    #[error("SIF objects {first} and {second} are both primary system partitions")]
    TwoPrimaries {
        /// The one that stands first.
        first: u32,
        /// The next.
        second: u32,
    },
    /// The file could not be read.
    #[error("reading the SIF")]
    Source(#[from] io::Error),
}

/// A descriptor as it lies on disk.
pub type Slot = [u8; DESCRIPTOR_LEN];

/// What a SIF contains: its header and the descriptors in use, in the order of their slots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sif {
    /// The header.
    pub header: Header,
    /// The objects.
    pub descriptors: Vec<Descriptor>,
}

impl Sif {
    /// Reads header and descriptor table of `source`.
    ///
    /// # Errors
    /// [`SifError`]
    pub fn read(source: &dyn Source) -> Result<Self, SifError> {
        let mut bytes = [0; HEADER_LEN];
        let got = source.read_at(&mut bytes, 0)?;
        let size = source.size();
        let header = Header::parse(bytes.get(..got).unwrap_or_default(), size)?;
        // The header was refused if its table had more than DESCRIPTORS_MAX slots.
        let mut table = vec![0; index(header.table_len())];
        source.read_exact_at(&mut table, header.descriptors_offset)?;
        Self::from_table(header, &table, size)
    }

    /// Parses a SIF of `size` bytes, of which `start` holds at least header and table.
    ///
    /// # Errors
    /// [`SifError`]
    pub fn parse(start: &[u8], size: u64) -> Result<Self, SifError> {
        let header = Header::parse(start, size)?;
        let table = start
            .get(index(header.descriptors_offset)..)
            .and_then(|rest| rest.get(..index(header.table_len())))
            .ok_or(SifError::Source(io::ErrorKind::UnexpectedEof.into()))?;
        Self::from_table(header, table, size)
    }

    /// As [`Sif::read`], with the bytes of each descriptor's slot as they lie on disk, which is what
    /// signatures are about.
    ///
    /// # Errors
    /// [`SifError`]
    pub fn read_with_slots(source: &dyn Source) -> Result<(Self, Vec<Slot>), SifError> {
        let sif = Self::read(source)?;
        let mut table = vec![0; index(sif.header.table_len())];
        source.read_exact_at(&mut table, sif.header.descriptors_offset)?;
        let (slots, _) = table.as_chunks::<DESCRIPTOR_LEN>();
        let used = slots.iter().filter(|slot| Descriptor::is_used(slot));
        let slots: Vec<Slot> = used.copied().collect();
        Ok((sif, slots))
    }

    fn from_table(header: Header, table: &[u8], size: u64) -> Result<Self, SifError> {
        let (slots, _) = table.as_chunks::<DESCRIPTOR_LEN>();
        let mut descriptors = Vec::new();
        let mut at = header.descriptors_offset;
        for slot in slots {
            if let Some(descriptor) = Descriptor::parse(slot, at, size)? {
                descriptors.push(descriptor);
            }
            at = at.saturating_add(DESCRIPTOR_LEN as u64);
        }
        let sif = Self {
            header,
            descriptors,
        };
        let mut primaries = sif.primaries();
        if let (Some(first), Some(second)) = (primaries.next(), primaries.next()) {
            return Err(SifError::TwoPrimaries {
                first: first.id,
                second: second.id,
            });
        }
        drop(primaries);
        Ok(sif)
    }

    fn primaries(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.iter().filter(|descriptor| {
            matches!(
                descriptor.extra,
                Extra::Partition {
                    kind: PartitionType::PrimarySystem,
                    ..
                }
            )
        })
    }

    /// The partition that holds the root file system.
    pub fn primary(&self) -> Option<&Descriptor> {
        self.primaries().next()
    }

    /// The object with number `id`.
    pub fn object(&self, id: u32) -> Option<&Descriptor> {
        self.descriptors
            .iter()
            .find(|descriptor| descriptor.id == id)
    }

    /// The generic JSON object called `name`.
    pub fn json(&self, name: &str) -> Option<&Descriptor> {
        self.descriptors.iter().find(|descriptor| {
            descriptor.data_type == DataType::GenericJson && descriptor.name == name
        })
    }
}

/// The bytes of the object that `descriptor` describes; `source` is the file it was read from.
///
/// # Errors
/// When the file is another, or shorter than it was.
pub fn data_of(source: Arc<dyn Source>, descriptor: &Descriptor) -> io::Result<Window> {
    // An empty object may lie behind the end.
    let offset = match descriptor.size {
        0 => 0,
        _ => descriptor.offset,
    };
    Window::new(source, offset, descriptor.size).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
