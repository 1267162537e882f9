//! Damage done to an image: at random, or to a field of a header.

use std::fmt;

use skiff_tests::reading::Random;

/// What was done, in words.
pub(super) struct Damage(String);

impl Damage {
    pub(super) fn none() -> Self {
        Self("whole".to_owned())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Damages `base` in one of several ways.
pub(super) fn damages(base: &[u8], random: &mut Random) -> (Vec<u8>, Damage) {
    let mut bytes = base.to_vec();
    let len = base.len() as u64;
    let place = |random: &mut Random| -> usize {
        // Heads and ends hold the structure: superblock and tables.
        let at = match random.below(4) {
            0 => random.below(len.min(4096)),
            1 => len - 1 - random.below(len.min(8192)),
            _ => random.below(len),
        };
        usize::try_from(at).unwrap_or(0)
    };
    let text = match random.below(6) {
        0 => {
            let keep = usize::try_from(random.below(len)).unwrap_or(0);
            bytes.truncate(keep);
            format!("cut to {keep} of {len} bytes")
        }
        1 => {
            let start = place(random);
            let count = usize::try_from(random.below(5_000))
                .unwrap_or(0)
                .min(bytes.len() - start);
            let noise = random.bytes(count);
            bytes[start..start + count].copy_from_slice(&noise);
            format!("{count} random bytes at {start}")
        }
        2 => {
            let start = place(random);
            let count = usize::try_from(random.below(5_000))
                .unwrap_or(0)
                .min(bytes.len() - start);
            let value = [0, 0xff, 0x7f][usize::try_from(random.below(3)).unwrap_or(0)];
            bytes[start..start + count].fill(value);
            format!("{count} bytes of {value:#x} at {start}")
        }
        _ => {
            let count = random.below(40) + 1;
            let mut places = Vec::new();
            for _ in 0..count {
                let at = place(random);
                bytes[at] ^= 1 << random.below(8);
                places.push(at);
            }
            format!("bits flipped at {places:?}")
        }
    };
    (bytes, Damage(text))
}

/// Values that arithmetic gets wrong.
fn hostile(width: usize, len: u64) -> Vec<u64> {
    match width {
        2 => vec![0, 1, 0x7fff, 0x8000, 0xffff],
        4 => vec![0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
        _ => vec![
            0,
            1,
            len - 1,
            len,
            len + 1,
            1 << 32,
            1 << 63,
            u64::MAX - 7,
            u64::MAX,
        ],
    }
}

fn set(base: &[u8], at: usize, width: usize, value: u64) -> Vec<u8> {
    let mut bytes = base.to_vec();
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    bytes
}

/// The superblock of squashfs 4.0: offset and width of each field.
const SUPERBLOCK: &[(&str, usize, usize)] = &[
    ("magic", 0, 4),
    ("inode count", 4, 4),
    ("time", 8, 4),
    ("block size", 12, 4),
    ("fragment count", 16, 4),
    ("compressor", 20, 2),
    ("block log", 22, 2),
    ("flags", 24, 2),
    ("id count", 26, 2),
    ("major", 28, 2),
    ("minor", 30, 2),
    ("root inode", 32, 8),
    ("bytes used", 40, 8),
    ("id table", 48, 8),
    ("xattr table", 56, 8),
    ("inode table", 64, 8),
    ("directory table", 72, 8),
    ("fragment table", 80, 8),
    ("export table", 88, 8),
];

/// Each field of the superblock with each hostile value, and the first bytes of each table, which
/// say where its blocks lie.
pub(super) fn squashfs_fields(base: &[u8]) -> Vec<(Vec<u8>, Damage)> {
    let mut out = Vec::new();
    let len = base.len() as u64;
    for (name, at, width) in SUPERBLOCK {
        for value in hostile(*width, len) {
            out.push((
                set(base, *at, *width, value),
                Damage(format!("{name} is {value:#x}")),
            ));
        }
    }
    for (name, at, _) in SUPERBLOCK.iter().filter(|(_, at, _)| *at >= 48) {
        let start = u64::from_le_bytes(base[*at..at + 8].try_into().expect("eight bytes"));
        let Some(start) = usize::try_from(start)
            .ok()
            .filter(|start| start + 16 < base.len())
        else {
            continue;
        };
        for value in hostile(8, len) {
            out.push((
                set(base, start, 8, value),
                Damage(format!("start of the {name} is {value:#x}")),
            ));
        }
        for value in hostile(2, len) {
            out.push((
                set(base, start, 2, value),
                Damage(format!("header of the {name} is {value:#x}")),
            ));
        }
    }
    out
}

/// Header and first descriptor of SIF: offset and width of each field.
const SIF: &[(&str, usize, usize)] = &[
    ("magic", 32, 4),
    ("version", 42, 2),
    ("architecture", 45, 2),
    ("created", 64, 8),
    ("modified", 72, 8),
    ("descriptors free", 80, 8),
    ("descriptors total", 88, 8),
    ("descriptors offset", 96, 8),
    ("descriptors size", 104, 8),
    ("data offset", 112, 8),
    ("data size", 120, 8),
];

/// Within a descriptor.
const DESCRIPTOR: &[(&str, usize, usize)] = &[
    ("data type", 0, 4),
    ("used", 4, 2),
    ("id", 5, 4),
    ("group", 9, 4),
    ("link", 13, 4),
    ("offset", 17, 8),
    ("size", 25, 8),
    ("size with padding", 33, 8),
    ("name", 73, 8),
    ("file system type", 201, 4),
    ("partition type", 205, 4),
    ("architecture", 209, 2),
];

/// Length of a descriptor, and where they start in files of Apptainer.
const DESCRIPTOR_LEN: usize = 585;
const DESCRIPTORS: usize = 4096;

/// Each field of the header and of the first three descriptors with each hostile value.
pub(super) fn sif_fields(base: &[u8]) -> Vec<(Vec<u8>, Damage)> {
    let mut out = Vec::new();
    let len = base.len() as u64;
    for (name, at, width) in SIF {
        for value in hostile(*width, len) {
            out.push((
                set(base, *at, *width, value),
                Damage(format!("{name} is {value:#x}")),
            ));
        }
    }
    for index in 0..3 {
        let start = DESCRIPTORS + index * DESCRIPTOR_LEN;
        for (name, at, width) in DESCRIPTOR {
            for value in hostile(*width, len) {
                let text = format!("{name} of descriptor {index} is {value:#x}");
                out.push((set(base, start + at, *width, value), Damage(text)));
            }
        }
    }
    out
}
