//! Header and descriptor table of a SIF that is changed, kept as the bytes they are: what is not
//! changed stays as it was, whether it means something or not.
//!
//! ```text
//! add     data ──► slot ──► header        cut off anywhere: a valid SIF without the object
//! delete           slot ──► header        data stays where it is
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::codes::{Arch, DataType, PartitionType};
use super::descriptor::{DESCRIPTOR_LEN, Descriptor, Extra, GROUP_BITS, Link, NAME_MAX};
use super::header::HEADER_LEN;
use super::writer::NewObject;
use super::{Sif, SifError};
use crate::format::bytes::index;
use crate::source::Source;

/// Places in a slot.
const LINK_AT: usize = 13;
const MODIFIED_AT: usize = 49;
const EXTRA_AT: usize = 201;
/// Places in the header.
const HEADER_ARCH_AT: usize = 45;
const HEADER_MODIFIED_AT: usize = 72;
const HEADER_FREE_AT: usize = 80;
const HEADER_DATA_SIZE_AT: usize = 120;

/// 0001-01-01T00:00:00Z, the time of all things in a reproducible SIF.
const NO_TIME: i64 = -62_135_596_800;

/// Why a SIF is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Objects count from 1.
    #[error("invalid object ID")]
    InvalidId,
    /// There is no such object.
    #[error("object not found")]
    NotFound,
    /// All slots are taken.
    #[error("insufficient descriptor capacity to add data object(s) to image")]
    Full,
    /// There is one root already.
    #[error("image already contains a primary partition")]
    PrimaryExists,
    /// The name has more than 128 bytes.
    #[error("name value too large")]
    NameTooLong,
    /// Only a partition can be the root.
    #[error("data object not a partition")]
    NotPartition,
    /// Only a system partition can be the root.
    #[error("data object not a system partition")]
    NotSystem,
    /// The file would be longer than files can be.
    #[error("the file would be too large")]
    TooLarge,
    /// It is no SIF.
    #[error(transparent)]
    Sif(#[from] SifError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A new object's group and link, as `sif add` takes them: any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawTies {
    /// Its group; 0 for none.
    pub group: u32,
    /// What it refers to, with the group's mark if that is a group; 0 for nothing.
    pub link: u32,
}

/// Where a new object goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// First byte.
    pub offset: u64,
    slot: usize,
    end_before: u64,
}

/// Header and table.
#[derive(Clone, Debug)]
pub struct Table {
    sif: Sif,
    header: [u8; HEADER_LEN],
    slots: Vec<[u8; DESCRIPTOR_LEN]>,
}

impl Table {
    /// Reads both.
    ///
    /// # Errors
    /// [`SifError`]
    pub fn read(source: &dyn Source) -> Result<Self, SifError> {
        let sif = Sif::read(source)?;
        let mut header = [0; HEADER_LEN];
        source.read_exact_at(&mut header, 0)?;
        let mut table = vec![0; index(sif.header.table_len())];
        source.read_exact_at(&mut table, sif.header.descriptors_offset)?;
        let (slots, _) = table.as_chunks::<DESCRIPTOR_LEN>();
        Ok(Self {
            header,
            slots: slots.to_vec(),
            sif,
        })
    }

    /// What they say.
    pub fn sif(&self) -> &Sif {
        &self.sif
    }

    /// Room for `object`, starting at a multiple of `alignment`.
    ///
    /// # Errors
    /// [`EditError`], when it cannot be added.
    pub fn room(&self, object: &NewObject<'_>, alignment: u64) -> Result<Room, EditError> {
        if object.name.len() > NAME_MAX {
            return Err(EditError::NameTooLong);
        }
        if is_primary(&object.extra) && self.sif.primary().is_some() {
            return Err(EditError::PrimaryExists);
        }
        let is_free = |slot: &[u8; DESCRIPTOR_LEN]| !Descriptor::is_used(slot);
        let slot = self.slots.iter().position(is_free).ok_or(EditError::Full)?;
        let end_before = self
            .sif
            .descriptors
            .iter()
            .map(|descriptor| descriptor.offset.saturating_add(descriptor.size))
            .max()
            .unwrap_or(self.sif.header.data_offset);
        Ok(Room {
            offset: end_before
                .checked_next_multiple_of(alignment.max(1))
                .ok_or(EditError::TooLarge)?,
            slot,
            end_before,
        })
    }

    /// Enters `object`, whose `size` bytes are at `room`'s place in `file`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn enter(
        &mut self,
        file: &File,
        room: Room,
        object: NewObject<'_>,
        size: u64,
        ties: RawTies,
        now: i64,
    ) -> Result<(), EditError> {
        let time = self.time(now);
        let end = room.offset.checked_add(size).ok_or(EditError::TooLarge)?;
        let arch = match object.extra {
            Extra::Partition { arch, .. } if is_primary(&object.extra) => Some(arch),
            _ => None,
        };
        let descriptor = Descriptor {
            data_type: object.data_type,
            id: u32::try_from(room.slot.saturating_add(1)).map_err(|_| EditError::Full)?,
            group: Some(ties.group & !GROUP_BITS),
            link: Link::None,
            offset: room.offset,
            size,
            size_with_padding: end.saturating_sub(room.end_before),
            created: time,
            modified: time,
            uid: 0,
            gid: 0,
            name: object.name.to_owned(),
            extra: object.extra,
        };
        let mut slot = descriptor.encode();
        put(&mut slot, LINK_AT, &ties.link.to_le_bytes());
        // What the descriptor names has to be there whatever happens next.
        file.sync_data()?;
        self.write_slots(file, &[(room.slot, slot)])?;
        self.count_free(-1);
        let data = end.saturating_sub(self.sif.header.data_offset);
        self.put_header(HEADER_DATA_SIZE_AT, &data.to_le_bytes());
        self.finish(file, arch, time)
    }

    /// Deletes object `id`. Its bytes stay where they are.
    ///
    /// # Errors
    /// There is none, or writing fails.
    pub fn delete(&mut self, file: &File, id: u32, now: i64) -> Result<(), EditError> {
        let (slot, descriptor) = self.find(id)?;
        let arch = is_primary(&descriptor.extra).then_some(Arch::Unknown);
        self.write_slots(file, &[(slot, [0; DESCRIPTOR_LEN])])?;
        self.count_free(1);
        let time = self.time(now);
        self.finish(file, arch, time)
    }

    /// Makes object `id` the root, in the place of the one that was.
    ///
    /// # Errors
    /// It cannot be, or writing fails.
    pub fn set_primary(&mut self, file: &File, id: u32, now: i64) -> Result<(), EditError> {
        let (slot, descriptor) = self.find(id)?;
        let Extra::Partition { kind, arch, .. } = descriptor.extra else {
            return Err(EditError::NotPartition);
        };
        match kind {
            PartitionType::PrimarySystem => return Ok(()),
            PartitionType::System => {}
            _ => return Err(EditError::NotSystem),
        }
        let time = self.time(now);
        let mut changed = vec![(slot, self.turned(slot, PartitionType::PrimarySystem, time))];
        if let Some(before) = self.sif.primary() {
            let (slot, _) = self.find(before.id)?;
            changed.push((slot, self.turned(slot, PartitionType::System, time)));
        }
        self.write_slots(file, &changed)?;
        self.finish(file, Some(arch), time)
    }

    /// The slot of a partition that is of another type from now on.
    fn turned(&self, slot: usize, kind: PartitionType, time: i64) -> [u8; DESCRIPTOR_LEN] {
        let mut bytes = self.slots.get(slot).copied().unwrap_or([0; DESCRIPTOR_LEN]);
        put(
            &mut bytes,
            EXTRA_AT.saturating_add(4),
            &kind.code().to_le_bytes(),
        );
        put(&mut bytes, MODIFIED_AT, &time.to_le_bytes());
        bytes
    }

    fn find(&self, id: u32) -> Result<(usize, Descriptor), EditError> {
        if id == 0 && !self.sif.descriptors.is_empty() {
            return Err(EditError::InvalidId);
        }
        let slots = self.slots.iter().enumerate();
        let mut used = slots.filter(|(_, slot)| Descriptor::is_used(slot));
        // Descriptors are those of the used slots, in their order.
        let mut descriptors = self.sif.descriptors.iter();
        let mut both = std::iter::from_fn(|| Some((used.next()?.0, descriptors.next()?)));
        both.find(|(_, descriptor)| descriptor.id == id)
            .map(|(slot, descriptor)| (slot, descriptor.clone()))
            .ok_or(EditError::NotFound)
    }

    /// A reproducible SIF stays one.
    fn time(&self, now: i64) -> i64 {
        let header = &self.sif.header;
        if header.uuid == [0; 16] && header.created == NO_TIME {
            NO_TIME
        } else {
            now
        }
    }

    fn count_free(&mut self, change: i64) {
        let free = self
            .sif
            .header
            .descriptors_free
            .saturating_add_signed(change);
        self.put_header(HEADER_FREE_AT, &free.to_le_bytes());
    }

    fn put_header(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.header, at, bytes);
    }

    /// Writes these slots, by one call for all from the first to the last of them.
    fn write_slots(
        &mut self,
        file: &File,
        changed: &[(usize, [u8; DESCRIPTOR_LEN])],
    ) -> io::Result<()> {
        for (number, bytes) in changed {
            if let Some(slot) = self.slots.get_mut(*number) {
                *slot = *bytes;
            }
        }
        let first = changed.iter().map(|(number, _)| *number).min().unwrap_or(0);
        let last = changed.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let bytes: Vec<u8> = self.slots.get(first..=last).unwrap_or_default().concat();
        let at = (first as u64)
            .saturating_mul(DESCRIPTOR_LEN as u64)
            .saturating_add(self.sif.header.descriptors_offset);
        file.write_all_at(&bytes, at)?;
        file.sync_data()
    }

    /// Writes the header.
    fn finish(&mut self, file: &File, arch: Option<Arch>, time: i64) -> Result<(), EditError> {
        if let Some(arch) = arch {
            self.put_header(HEADER_ARCH_AT, &arch.code());
        }
        self.put_header(HEADER_MODIFIED_AT, &time.to_le_bytes());
        file.write_all_at(&self.header, 0)?;
        file.sync_data()?;
        Ok(())
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    let to = to.get_mut(at..).unwrap_or_default();
    for (to, from) in to.iter_mut().zip(bytes) {
        *to = *from;
    }
}

fn is_primary(extra: &Extra) -> bool {
    matches!(
        extra,
        Extra::Partition {
            kind: PartitionType::PrimarySystem,
            ..
        }
    )
}

/// Where objects of this type start when nobody says otherwise.
pub const fn alignment_of(data_type: DataType) -> u64 {
    match data_type {
        DataType::Partition => super::writer::PARTITION_ALIGNMENT,
        _ => 1,
    }
}
