//! The first 128 bytes.

use std::fmt::Write as _;

use crate::format::bytes::Fields;

use super::codes::Arch;
use super::descriptor::DESCRIPTOR_LEN;
use super::{DESCRIPTORS_MAX, SifError};

/// Length of the header.
pub const HEADER_LEN: usize = 128;

/// What makes a file a SIF, at byte 32.
pub const MAGIC: &[u8; 10] = b"SIF_MAGIC\0";

/// The line that makes a SIF executable.
pub const LAUNCH_SCRIPT: &[u8] = b"#!/usr/bin/env run-singularity\n";

const VERSION: &[u8; 3] = b"01\0";

/// The header, its offsets checked against the length of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The launch line, padded with NUL.
    pub launch_script: [u8; 32],
    /// Machine of the primary partition.
    pub arch: Arch,
    /// Random, or nil in files that are to be reproducible.
    pub uuid: [u8; 16],
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds.
    pub modified: i64,
    /// Free slots of the table.
    pub descriptors_free: u64,
    /// All slots of the table.
    pub descriptors_total: u64,
    /// Where the table starts.
    pub descriptors_offset: u64,
    /// Length that the writer gave the table.
    pub descriptors_size: u64,
    /// Where objects start.
    pub data_offset: u64,
    /// Length of all objects.
    pub data_size: u64,
}

impl Header {
    /// Parses `bytes`, the start of a file of `size` bytes.
    ///
    /// # Errors
    /// [`SifError`]
    pub fn parse(bytes: &[u8], size: u64) -> Result<Self, SifError> {
        let raw = Raw::parse(bytes).ok_or(SifError::TooShort { size })?;
        if raw.magic != *MAGIC {
            return Err(SifError::NotSif);
        }
        if raw.version != *VERSION {
            let text = raw.version.split(|byte| *byte == 0).next();
            return Err(SifError::Version {
                found: String::from_utf8_lossy(text.unwrap_or_default()).into_owned(),
            });
        }
        let [free, total, offset, table_size, data_offset, data_size] = raw.numbers;
        let field = |field, at, value: i64| {
            u64::try_from(value).map_err(|_| SifError::Header {
                field,
                at,
                value,
                problem: "negative",
            })
        };
        let header = Self {
            launch_script: raw.launch_script,
            arch: Arch::from_code(raw.arch),
            uuid: raw.uuid,
            created: raw.created,
            modified: raw.modified,
            descriptors_free: field("number of free descriptors", 80, free)?,
            descriptors_total: field("number of descriptors", 88, total)?,
            descriptors_offset: field("offset of the descriptors", 96, offset)?,
            descriptors_size: field("size of the descriptors", 104, table_size)?,
            data_offset: field("offset of the data", 112, data_offset)?,
            data_size: field("size of the data", 120, data_size)?,
        };
        if header.descriptors_total > DESCRIPTORS_MAX {
            return Err(SifError::Header {
                field: "number of descriptors",
                at: 88,
                value: total,
                problem: "more than any image has",
            });
        }
        let end = header.descriptors_offset.checked_add(header.table_len());
        if end.is_none_or(|end| end > size) {
            return Err(SifError::Header {
                field: "offset of the descriptors",
                at: 96,
                value: offset,
                problem: "too near to the end of the file for them",
            });
        }
        Ok(header)
    }

    /// Length of the table by the number of its slots.
    pub(super) fn table_len(&self) -> u64 {
        self.descriptors_total.saturating_mul(DESCRIPTOR_LEN as u64)
    }

    /// The launch line without padding.
    pub fn launch_line(&self) -> &[u8] {
        let end = self.launch_script.iter().position(|byte| *byte == 0);
        self.launch_script
            .get(..end.unwrap_or(self.launch_script.len()))
            .unwrap_or_default()
    }

    /// The UUID as it is usually written.
    pub fn uuid_text(&self) -> String {
        let mut text = String::with_capacity(36);
        for (place, byte) in self.uuid.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").unwrap_or_default();
        }
        text
    }

    /// The bytes on disk.
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).to_le_bytes();
        let parts: [&[u8]; 13] = [
            &self.launch_script,
            MAGIC,
            VERSION,
            &self.arch.code(),
            &self.uuid,
            &self.created.to_le_bytes(),
            &self.modified.to_le_bytes(),
            &number(self.descriptors_free),
            &number(self.descriptors_total),
            &number(self.descriptors_offset),
            &number(self.descriptors_size),
            &number(self.data_offset),
            &number(self.data_size),
        ];
        let mut bytes = [0; HEADER_LEN];
        for (to, from) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
            *to = *from;
        }
        bytes
    }
}

/// The header as it lies on disk.
struct Raw {
    launch_script: [u8; 32],
    magic: [u8; 10],
    version: [u8; 3],
    arch: [u8; 3],
    uuid: [u8; 16],
    created: i64,
    modified: i64,
    numbers: [i64; 6],
}

impl Raw {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            launch_script: fields.array()?,
            magic: fields.array()?,
            version: fields.array()?,
            arch: fields.array()?,
            uuid: fields.array()?,
            created: fields.i64()?,
            modified: fields.i64()?,
            numbers: [
                fields.i64()?,
                fields.i64()?,
                fields.i64()?,
                fields.i64()?,
                fields.i64()?,
                fields.i64()?,
            ],
        })
    }
}
