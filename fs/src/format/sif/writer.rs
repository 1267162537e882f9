//! Makes a SIF from a list of objects, as Apptainer lays them out.
//!
//! Content is written first, the table next and the header last, so that a file that was not
//! finished is not taken for a SIF. Putting it in place (write beside, then rename) is the
//! caller's.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::codes::{Arch, DataType, PartitionType};
use super::descriptor::{DESCRIPTOR_LEN, Descriptor, Extra, Link, NAME_MAX};
use super::header::{Header, LAUNCH_SCRIPT};

/// Slots of a new table.
const SLOTS: u64 = 48;

/// Where a new table starts.
const TABLE_OFFSET: u64 = 4096;

const TABLE_LEN: u64 = SLOTS * DESCRIPTOR_LEN as u64;

/// Where objects start.
const DATA_OFFSET: u64 = TABLE_OFFSET + TABLE_LEN;

/// Partitions start at a multiple of this, so that they can be mapped.
pub(super) const PARTITION_ALIGNMENT: u64 = 4096;

/// Group of new objects.
const GROUP: u32 = 1;

/// What identifies the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriterOptions {
    /// Random bytes, or zeros for a reproducible file.
    pub uuid: [u8; 16],
    /// Unix seconds, for all times in the file.
    pub time: i64,
    /// Whether the file starts with the line that makes it executable.
    pub launch_script: bool,
}

/// An object to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewObject<'a> {
    /// What it is.
    pub data_type: DataType,
    /// Name of at most 128 bytes; may be empty.
    pub name: &'a str,
    /// What its type says beyond that.
    pub extra: Extra,
}

/// A SIF being written.
#[derive(Debug)]
pub struct Writer {
    file: File,
    options: WriterOptions,
    descriptors: Vec<Descriptor>,
    end: u64,
    arch: Arch,
}

impl Writer {
    /// Starts a SIF in `file`, which is empty.
    pub fn new(file: File, options: WriterOptions) -> Self {
        Self {
            file,
            options,
            descriptors: Vec::new(),
            end: DATA_OFFSET,
            arch: Arch::Unknown,
        }
    }

    /// Adds an object with all of `content`; returns its number.
    ///
    /// # Errors
    /// When the table is full, the name too long, a second primary partition is added, or reading
    /// or writing fails.
    pub fn add(&mut self, object: NewObject<'_>, content: &mut dyn Read) -> io::Result<u32> {
        self.add_with(object, |file, _| io::copy(content, file))
    }

    /// Adds an object that `write` writes to the file from its position on (which it is also
    /// told); `write` returns the number of bytes. Returns the object's number.
    ///
    /// # Errors
    /// As [`Writer::add`].
    pub fn add_with<E: From<io::Error>>(
        &mut self,
        object: NewObject<'_>,
        write: impl FnOnce(&mut File, u64) -> Result<u64, E>,
    ) -> Result<u32, E> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
        if self.descriptors.len() as u64 >= SLOTS {
            return refuse("a SIF has room for 48 objects");
        }
        if object.name.len() > NAME_MAX {
            return refuse("the name of a SIF object has at most 128 bytes");
        }
        if let Extra::Partition {
            kind: PartitionType::PrimarySystem,
            arch,
            ..
        } = object.extra
        {
            if self.descriptors.iter().any(Self::is_primary) {
                return refuse("a SIF has at most one primary system partition");
            }
            self.arch = arch;
        }
        let alignment = match object.data_type {
            DataType::Partition => PARTITION_ALIGNMENT,
            _ => 1,
        };
        let offset = self
            .end
            .checked_next_multiple_of(alignment)
            .ok_or_else(too_large)?;
        self.file.seek(SeekFrom::Start(offset))?;
        let size = write(&mut self.file, offset)?;
        let end = offset.checked_add(size).ok_or_else(too_large)?;
        let id = u32::try_from(self.descriptors.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        self.descriptors.push(Descriptor {
            data_type: object.data_type,
            id,
            group: Some(GROUP),
            link: Link::None,
            offset,
            size,
            size_with_padding: end.saturating_sub(self.end),
            created: self.options.time,
            modified: self.options.time,
            uid: 0,
            gid: 0,
            name: object.name.to_owned(),
            extra: object.extra,
        });
        self.end = end;
        Ok(id)
    }

    fn is_primary(descriptor: &Descriptor) -> bool {
        matches!(
            descriptor.extra,
            Extra::Partition {
                kind: PartitionType::PrimarySystem,
                ..
            }
        )
    }

    /// Writes table and header; returns the file, complete but not synced.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<File> {
        // An object at the end may be empty, or shorter than what `write` had left there.
        self.file.set_len(self.end)?;
        let mut table = Vec::with_capacity(usize::try_from(TABLE_LEN).unwrap_or(0));
        for descriptor in &self.descriptors {
            table.extend_from_slice(&descriptor.encode());
        }
        table.resize(usize::try_from(TABLE_LEN).unwrap_or(0), 0);
        self.file.seek(SeekFrom::Start(TABLE_OFFSET))?;
        self.file.write_all(&table)?;
        let mut launch_script = [0; 32];
        if self.options.launch_script {
            for (to, from) in launch_script.iter_mut().zip(LAUNCH_SCRIPT) {
                *to = *from;
            }
        }
        let used = self.descriptors.len() as u64;
        let header = Header {
            launch_script,
            arch: self.arch,
            uuid: self.options.uuid,
            created: self.options.time,
            modified: self.options.time,
            descriptors_free: SLOTS.saturating_sub(used),
            descriptors_total: SLOTS,
            descriptors_offset: TABLE_OFFSET,
            descriptors_size: TABLE_LEN,
            data_offset: DATA_OFFSET,
            data_size: self.end.saturating_sub(DATA_OFFSET),
        };
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header.encode())?;
        Ok(self.file)
    }
}

fn too_large() -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}
