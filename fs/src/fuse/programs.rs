//! What the loader will read of a program or library, told by its first bytes.
//!
//! A program that starts reads in an order that no read-ahead guesses: the headers, then the symbols
//! and relocations behind them, then the data at the far end that is relocated, then code here and
//! there. Over a network each of these is a round trip. The program headers say where they are.

use std::ops::Range;

use crate::tree::Segment;

const MAGIC: &[u8] = b"\x7fELF";

/// `EI_CLASS` 2 and `EI_DATA` 1: 64 bits, little endian. Others start as slowly as they always did.
const CLASS_AND_DATA: [u8; 2] = [2, 1];

/// `PT_LOAD`.
const LOAD: u32 = 1;

/// `PF_X` and `PF_W`.
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;

/// Program headers looked at; real ones have a dozen.
const MAX_HEADERS: usize = 64;

/// Of symbols and relocations so much is taken to be needed, and of data.
const MAX_BYTES: u64 = 512 << 10;

/// Ranges of the file that its loader will read soon, by the content of `first`, its beginning.
pub(super) fn likely_reads(first: &[Segment]) -> Vec<Range<u64>> {
    let Some(Segment::Bytes(bytes, range)) = first.first() else {
        return Vec::new();
    };
    let start = bytes.get(range.clone()).unwrap_or_default();
    parse(start).unwrap_or_default()
}

fn parse(file: &[u8]) -> Option<Vec<Range<u64>>> {
    let rest = file.strip_prefix(MAGIC)?;
    if !rest.starts_with(&CLASS_AND_DATA) {
        return None;
    }
    let table = usize::try_from(u64_at(file, 32)?).ok()?;
    let entry = usize::from(u16_at(file, 54)?);
    let count = usize::from(u16_at(file, 56)?).min(MAX_HEADERS);
    let mut ranges = Vec::new();
    for number in 0..count {
        let header = file.get(table.checked_add(number.checked_mul(entry)?)?..)?;
        let (kind, flags) = (u32_at(header, 0)?, u32_at(header, 4)?);
        let (offset, size) = (u64_at(header, 8)?, u64_at(header, 32)?);
        if kind != LOAD || flags & EXECUTABLE != 0 {
            continue;
        }
        // Constants, which are read as needed, lie behind the code and not at the start.
        if flags & WRITABLE != 0 || offset == 0 {
            ranges.push(offset..offset.saturating_add(size.min(MAX_BYTES)));
        }
    }
    Some(ranges)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        let ranges = parse(&file).unwrap();
        assert!(ranges.iter().any(|range| range.start == 0), "{ranges:?}");
        assert!(ranges.len() >= 2, "{ranges:?}");
        let size = file.len() as u64;
        assert!(ranges.iter().all(|range| range.end <= size), "{ranges:?}");
    }

    #[test]
    fn others_and_hostile_ones() {
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        assert_eq!(parse(b"\x7fELF\x01\x01"), None);
        let mut file = std::fs::read("/proc/self/exe").unwrap();
        file.truncate(200);
        assert!(parse(&file).is_none());
        file[32..40].fill(0xFF);
        assert!(parse(&file).is_none());
    }
}
