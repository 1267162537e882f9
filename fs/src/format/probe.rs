//! Tells formats apart by the first two kilobytes of a file.

use std::io;

use crate::format::bytes::Fields;
use crate::format::squashfs;
use crate::source::Source;

/// How much of a file decides, as in Apptainer.
const PROBE_LEN: usize = 2048;

/// The part of a SIF's magic that is looked for, anywhere.
const SIF_MARK: &[u8] = b"SIF_MAGIC";

/// What makes a first line a launch line.
const LAUNCH_MARK: &[u8] = b" run-singularity";

/// What a file looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    Sif,
    Squashfs { offset: u64 },
    Ext3 { offset: u64 },
    Unknown,
}

/// Looks at the start of `source`.
pub(crate) fn read(source: &dyn Source) -> io::Result<Probe> {
    let mut bytes = [0; PROBE_LEN];
    let got = source.read_at(&mut bytes, 0)?;
    Ok(probe(bytes.get(..got).unwrap_or_default()))
}

fn probe(bytes: &[u8]) -> Probe {
    if contains(bytes, SIF_MARK) {
        return Probe::Sif;
    }
    // A file system may follow a launch line, with its own start as its byte 0.
    let offset = launch_line_len(bytes);
    for offset in [0, offset] {
        let start = bytes.get(offset..).unwrap_or_default();
        let offset = offset as u64;
        if start.starts_with(&squashfs::MAGIC) {
            return Probe::Squashfs { offset };
        }
        if is_ext3(start) {
            return Probe::Ext3 { offset };
        }
    }
    Probe::Unknown
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// Length of the launch line, 0 when there is none.
fn launch_line_len(bytes: &[u8]) -> usize {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .next()
        .filter(|line| line.starts_with(b"#!") && line.ends_with(b"\n"))
        .filter(|line| contains(line, LAUNCH_MARK))
        .map_or(0, <[u8]>::len)
}

/// Whether an ext superblock with a journal and no feature younger than ext3 is there.
fn is_ext3(bytes: &[u8]) -> bool {
    /// The superblock's start, and the places in it of magic and features.
    const SUPERBLOCK: usize = 1024;
    const MAGIC_AT: usize = 56;
    const FEATURES_AT: usize = 92;
    /// Features by the kernel's names, EXT3_FEATURE_*.
    const HAS_JOURNAL: u32 = 0x4;
    const INCOMPAT_SUPPORTED: u32 = 0x2 | 0x4 | 0x10;
    const RO_COMPAT_SUPPORTED: u32 = 0x1 | 0x2 | 0x4;

    let Some(superblock) = bytes.get(SUPERBLOCK..) else {
        return false;
    };
    let magic = superblock
        .get(MAGIC_AT..)
        .map(|rest| rest.starts_with(&[0x53, 0xEF]));
    let features = || {
        let mut fields = Fields::new(superblock.get(FEATURES_AT..)?);
        Some((fields.u32()?, fields.u32()?, fields.u32()?))
    };
    magic == Some(true)
        && features().is_some_and(|(compat, incompat, ro_compat)| {
            compat & HAS_JOURNAL != 0
                && incompat & !INCOMPAT_SUPPORTED == 0
                && ro_compat & !RO_COMPAT_SUPPORTED == 0
        })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test may stop at what it does not expect"
    )]

    use super::{Probe, probe};

    fn ext(compat: u32, incompat: u32, ro_compat: u32) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        bytes[1080..1082].copy_from_slice(&[0x53, 0xEF]);
        bytes[1116..1120].copy_from_slice(&compat.to_le_bytes());
        bytes[1120..1124].copy_from_slice(&incompat.to_le_bytes());
        bytes[1124..1128].copy_from_slice(&ro_compat.to_le_bytes());
        bytes
    }

    #[test]
    fn each_kind_is_told_from_its_first_bytes() {
        let line = b"#!/usr/bin/env run-singularity\n".to_vec();
        let behind = |start: &[u8]| [&line[..], start].concat();
        let offset = line.len() as u64;
        let ext3 = ext(0x3C, 0x6, 0x3);
        for (bytes, expected) in [
            (vec![], Probe::Unknown),
            (b"hsqs".to_vec(), Probe::Squashfs { offset: 0 }),
            (behind(b"hsqs"), Probe::Squashfs { offset }),
            (b"#!/bin/sh\nhsqs".to_vec(), Probe::Unknown),
            (b"#!x run-singularity hsqs".to_vec(), Probe::Unknown),
            (b"sqsh".to_vec(), Probe::Unknown),
            (b"....SIF_MAGIC".to_vec(), Probe::Sif),
            (behind(b"\0SIF_MAGIC\0"), Probe::Sif),
            // Extents and 64-bit block numbers are ext4's; without a journal it is ext2.
            (ext(0x3C, 0x2C2, 0x7B), Probe::Unknown),
            (ext(0x38, 0x2, 0x3), Probe::Unknown),
            (behind(&ext3)[..2048].to_vec(), Probe::Ext3 { offset }),
            (ext3[..1100].to_vec(), Probe::Unknown),
            (ext3, Probe::Ext3 { offset: 0 }),
        ] {
            assert_eq!(probe(&bytes), expected);
        }
    }
}
