//! Adds an object to a SIF that exists.
//!
//! Data comes first, the descriptor's slot next, the header last: whenever it is cut off, the file
//! is a valid SIF, with or without the object.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::descriptor::{DESCRIPTOR_LEN, Descriptor, Link};
use super::header::Header;
use super::writer::{NewObject, PARTITION_ALIGNMENT};
use super::{DataType, Sif};
use crate::format::bytes::index;

/// Where a new object goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Number of the object.
    pub id: u32,
    /// First byte.
    pub offset: u64,
    /// Its slot in the table.
    slot: u64,
    /// End of the objects before it.
    end_before: u64,
}

/// The place of one more object in `sif`; partitions start at a multiple of a page.
///
/// # Errors
/// The table is full.
pub fn place(sif: &Sif, data_type: DataType) -> io::Result<Place> {
    let taken = |id: u32| sif.descriptors.iter().any(|descriptor| descriptor.id == id);
    let id = (1..)
        .take(index(sif.header.descriptors_total))
        .find(|id| !taken(*id));
    let Some(id) = id else {
        let total = sif.header.descriptors_total;
        let text = format!("the SIF has room for {total} objects, which are all there");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let end_before = sif
        .descriptors
        .iter()
        .map(|descriptor| descriptor.offset.saturating_add(descriptor.size))
        .max()
        .unwrap_or(sif.header.data_offset);
    let alignment = match data_type {
        DataType::Partition => PARTITION_ALIGNMENT,
        _ => 1,
    };
    Ok(Place {
        id,
        offset: end_before
            .checked_next_multiple_of(alignment)
            .ok_or(io::ErrorKind::FileTooLarge)?,
        slot: u64::from(id).saturating_sub(1),
        end_before,
    })
}

/// What a new object belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ties {
    /// Its group.
    pub group: Option<u32>,
    /// What it refers to.
    pub link: Link,
}

/// Enters an object of `size` bytes, which are in `file` already, at `place` of `sif`; `time` is in
/// Unix seconds.
///
/// # Errors
/// When writing fails.
pub fn enter(
    file: &File,
    sif: &Sif,
    place: Place,
    object: NewObject<'_>,
    size: u64,
    ties: Ties,
    time: i64,
) -> io::Result<()> {
    let end = place
        .offset
        .checked_add(size)
        .ok_or(io::ErrorKind::FileTooLarge)?;
    let descriptor = Descriptor {
        data_type: object.data_type,
        id: place.id,
        group: ties.group,
        link: ties.link,
        offset: place.offset,
        size,
        size_with_padding: end.saturating_sub(place.end_before),
        created: time,
        modified: time,
        uid: 0,
        gid: 0,
        name: object.name.to_owned(),
        extra: object.extra,
    };
    // What the descriptor names has to be there whatever happens next.
    file.sync_data()?;
    let at = place
        .slot
        .saturating_mul(DESCRIPTOR_LEN as u64)
        .saturating_add(sif.header.descriptors_offset);
    file.write_all_at(&descriptor.encode(), at)?;
    file.sync_data()?;
    let header = Header {
        modified: time,
        descriptors_free: sif.header.descriptors_free.saturating_sub(1),
        data_size: end.saturating_sub(sif.header.data_offset),
        ..sif.header
    };
    file.write_all_at(&header.encode(), 0)?;
    file.sync_data()
}
