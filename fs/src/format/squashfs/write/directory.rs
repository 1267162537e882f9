//! Directory listings: runs of entries under a header, and an index about every 8 KiB.

use super::metadata::{BLOCK_LEN, MetadataPacker, Place, Stream};

/// Most entries under one header.
const RUN_MAX: u32 = 256;

/// An entry without its name.
const ENTRY_LEN: usize = 8;
const HEADER_LEN: usize = 12;

/// What a listing says of a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) number: u32,
    /// The basic type.
    pub(super) kind: u16,
}

/// A point of the index: a header, and the first name under it.
#[derive(Debug)]
struct Point {
    offset: usize,
    name: Box<[u8]>,
}

/// A header whose entries are being added.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Where the header is in the listing.
    at: usize,
    count: u32,
    block: u64,
    number: u32,
}

/// A listing being made.
#[derive(Debug, Default)]
pub(super) struct Listing {
    bytes: Vec<u8>,
    run: Option<Run>,
    /// Where the last point of the index is, or the start.
    indexed: usize,
    points: Vec<Point>,
}

/// A listing that was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Listed {
    pub(super) place: Place,
    pub(super) len: usize,
    pub(super) points: u16,
    /// The index as it stands behind the inode.
    pub(super) index: Box<[u8]>,
}

impl Listing {
    /// Adds an entry; names come in order.
    pub(super) fn add(&mut self, name: &[u8], target: Target) {
        let far = self.bytes.len() + HEADER_LEN + ENTRY_LEN + name.len() - self.indexed > BLOCK_LEN;
        let fits = self.run.is_some_and(|run| {
            !far && run.count < RUN_MAX
                && run.block == target.place.block
                && difference(target.number, run.number).is_some()
        });
        if !fits {
            self.end_run();
            if far {
                self.indexed = self.bytes.len();
                self.points.push(Point {
                    offset: self.indexed,
                    name: name.into(),
                });
            }
            self.run = Some(Run {
                at: self.bytes.len(),
                count: 0,
                block: target.place.block,
                number: target.number,
            });
            self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        }
        let Some(run) = &mut self.run else { return };
        run.count += 1;
        let difference = difference(target.number, run.number).unwrap_or(0);
        // Names have at most 256 bytes.
        let len = u16::try_from(name.len() - 1).unwrap_or(0);
        for number in [
            target.place.offset.to_le_bytes(),
            difference.to_le_bytes(),
            target.kind.to_le_bytes(),
            len.to_le_bytes(),
        ] {
            self.bytes.extend_from_slice(&number);
        }
        self.bytes.extend_from_slice(name);
    }

    fn end_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        // The inode table was found to be small enough.
        let block = u32::try_from(run.block).unwrap_or(u32::MAX);
        let numbers = [run.count - 1, block, run.number];
        let header = &mut self.bytes[run.at..run.at + HEADER_LEN];
        for (to, number) in header.chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
    }

    /// Writes the listing; nothing when it is too large for the format.
    pub(super) fn write(
        mut self,
        packer: &mut MetadataPacker,
        stream: &mut Stream,
    ) -> Option<Listed> {
        self.end_run();
        if self.bytes.is_empty() {
            return Some(Listed::default());
        }
        let place = stream.place();
        stream.write(packer, &self.bytes);
        u32::try_from(place.block).ok()?;
        let mut index = Vec::new();
        for point in &self.points {
            let block = stream.block_start(place, point.offset);
            let len = point.name.len() - 1;
            for number in [point.offset as u64, block, len as u64] {
                index.extend_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
            }
            index.extend_from_slice(&point.name);
        }
        Some(Listed {
            place,
            len: self.bytes.len(),
            points: u16::try_from(self.points.len()).ok()?,
            index: index.into(),
        })
    }
}

fn difference(number: u32, from: u32) -> Option<i16> {
    i16::try_from(i64::from(number) - i64::from(from)).ok()
}
