//! Extended attributes.
//!
//! An inode holds a number; the id table says for each number where its attributes lie, how many
//! they are and how long. Attributes are stored one after the other: type, name without prefix,
//! value; a value used more than once is stored once and referred to ("out of line").

use crate::format::bytes::Fields;
use crate::tree::TreeError;

use super::lookup::Lookup;
use super::metadata::{Cursor, Metadata, Place, Table, damaged};

/// Length of the header of the id table, which the list of its blocks follows.
pub(super) const HEADER_LEN: u64 = 16;

/// Linux's limits for one value, and for the names of one file together. Anything beyond could
/// not be asked for anyway, and the second bounds the work for one file.
const VALUE_MAX: u32 = 65_536;
const NAMES_MAX: usize = 65_536;

/// The value is a reference to where it is stored.
const OUT_OF_LINE: u16 = 0x0100;

/// All attributes of a file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xattrs {
    ids: Lookup,
    stored: Table,
    count: u32,
}

/// A record of the id table: the attributes of one inode, or of several with the same.
#[derive(Clone, Copy, Debug)]
struct Set {
    /// Reference of the first.
    place: u64,
    count: u32,
    len: u32,
}

impl Xattrs {
    /// From the id table's header, which lies at `table`, and the end of the file system; `None`
    /// when they do not fit together.
    pub(super) fn new(header: [u8; 16], table: u64, end: u64) -> Option<Self> {
        let mut fields = Fields::new(&header);
        let start = fields.u64()?;
        let count = fields.u32()?;
        let list = table.checked_add(HEADER_LEN)?;
        if start >= table && count > 0 {
            return None;
        }
        Some(Self {
            ids: Lookup::new::<16>("extended attribute id table", list, end, u64::from(count))?,
            stored: Table {
                what: "extended attributes",
                start,
                // They are stored before the id table that leads to them.
                end: table,
            },
            count,
        })
    }

    /// Whether there is any attribute.
    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    /// Length of set `number` as stored: names and values.
    pub(super) fn len(&self, metadata: &Metadata, number: u32) -> Result<u32, TreeError> {
        Ok(self.set(metadata, number)?.len)
    }

    fn set(&self, metadata: &Metadata, number: u32) -> Result<Set, TreeError> {
        let record = self.ids.get::<16>(metadata, u64::from(number))?;
        let mut fields = Fields::new(&record);
        let mut parse = || {
            Some(Set {
                place: fields.u64()?,
                count: fields.u32()?,
                len: fields.u32()?,
            })
        };
        parse().ok_or_else(|| damaged("extended attribute id", self.stored.end))
    }

    /// Calls `emit` with name and value of each attribute of set `number`.
    pub(super) fn read(
        &self,
        metadata: &Metadata,
        number: u32,
        emit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), TreeError> {
        let Set { place, count, .. } = self.set(metadata, number)?;
        let mut cursor = metadata.cursor(self.stored, self.place(place)?)?;
        let mut name = Vec::new();
        let mut value = Vec::new();
        let mut names: usize = 0;
        for _ in 0..count {
            let kind = cursor.u16()?;
            let len = cursor.u16()?;
            name.clear();
            let known = prefix(kind);
            name.extend_from_slice(known.unwrap_or_default());
            append(&mut cursor, usize::from(len), &mut name)?;
            names = names.saturating_add(name.len()).saturating_add(1);
            if names > NAMES_MAX || len == 0 {
                return Err(cursor.damaged("extended attribute names"));
            }
            value.clear();
            if kind & OUT_OF_LINE == 0 {
                read_value(&mut cursor, &mut value)?;
            } else {
                // The value's length is that of the reference: 8.
                cursor.u32()?;
                let place = cursor.u64()?;
                let mut elsewhere = metadata.cursor(self.stored, self.place(place)?)?;
                read_value(&mut elsewhere, &mut value)?;
            }
            // Linux passes over prefixes it does not know; so names stay as they were meant.
            if known.is_some() {
                emit(&name, &value);
            }
        }
        Ok(())
    }

    fn place(&self, reference: u64) -> Result<Place, TreeError> {
        let [low, high, ..] = reference.to_le_bytes();
        let block = self
            .stored
            .start
            .checked_add(reference >> 16)
            .ok_or_else(|| damaged(self.stored.what, reference))?;
        Ok(Place {
            block,
            offset: usize::from(u16::from_le_bytes([low, high])),
        })
    }
}

fn prefix(kind: u16) -> Option<&'static [u8]> {
    match kind & !OUT_OF_LINE {
        0 => Some(b"user."),
        1 => Some(b"trusted."),
        2 => Some(b"security."),
        _ => None,
    }
}

fn read_value(cursor: &mut Cursor<'_>, value: &mut Vec<u8>) -> Result<(), TreeError> {
    let len = cursor.u32()?;
    if len > VALUE_MAX {
        return Err(cursor.damaged("length of an extended attribute"));
    }
    append(cursor, usize::try_from(len).unwrap_or(0), value)
}

fn append(cursor: &mut Cursor<'_>, len: usize, to: &mut Vec<u8>) -> Result<(), TreeError> {
    let start = to.len();
    to.resize(start.saturating_add(len), 0);
    cursor.fill(to.get_mut(start..).unwrap_or_default())
}
