//! Damaged and hostile squashfs images: errors are fine, panics, hangs and memory are not.
//!
//! A binary of its own, because it looks at the peak memory of its process. The images are packed
//! by mksquashfs and then changed; everything that still opens is walked and read.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may stop at what it does not expect, and says why it skips"
)]

mod image;
mod walk;

use std::fs;

use image::{Random, pack};
use walk::{Outcome, walk};

/// Peak memory of this process may reach this.
const MEMORY_MAX_KIB: u64 = 256 * 1024;

const EXTREMES: [u64; 7] = [
    0,
    1,
    0x8000,
    0x0100_0000,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX,
];

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let number = line.trim().trim_end_matches("kB").trim();
    number.parse().unwrap()
}

fn check_memory() {
    let peak = peak_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB used");
}

/// Walks `original` with `width` bytes at each of `places` set to each extreme.
fn extremes(original: &[u8], places: impl Iterator<Item = usize>, width: usize) -> Outcome {
    let mut total = Outcome::default();
    for place in places {
        for extreme in EXTREMES {
            let mut image = original.to_vec();
            let Some(field) = image.get_mut(place..place + width) else {
                continue;
            };
            field.copy_from_slice(&extreme.to_le_bytes()[..width]);
            total += walk(image);
        }
    }
    total
}

#[test]
fn the_image_itself_is_fine() {
    for options in image::PACKINGS {
        let Some(image) = pack(options) else { return };
        let outcome = walk(image);
        assert_eq!((outcome.refused, outcome.errors), (0, 0), "{options:?}");
        assert!(outcome.nodes > 40);
    }
}

#[test]
fn every_superblock_field_at_every_extreme() {
    let Some(image) = pack(image::STORED) else {
        return;
    };
    let mut total = Outcome::default();
    for width in [2, 4, 8] {
        total += extremes(&image, (0..96).step_by(2), width);
    }
    eprintln!("{total:?}");
    assert!(total.refused > 100);
    check_memory();
}

#[test]
fn every_table_field_at_extremes() {
    let Some(image) = pack(image::STORED) else {
        return;
    };
    // Inodes, directories and tables are stored as they are and lie at the end.
    let inodes = u64::from_le_bytes(image[64..72].try_into().unwrap()) as usize;
    let used = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
    let mut total = Outcome::default();
    for width in [2, 4, 8] {
        // Odd steps reach every field of a repeated structure sooner or later.
        total += extremes(&image, (inodes..used).step_by(4 * width + 3), width);
    }
    eprintln!("{total:?}");
    assert!(total.errors > 100);
    check_memory();
}

#[test]
fn random_flips_and_cuts() {
    let mut random = Random(20_261_124);
    for options in image::PACKINGS {
        let Some(original) = pack(options) else {
            return;
        };
        let mut total = Outcome::default();
        for round in 0..200 {
            let mut image = original.clone();
            for _ in 0..=random.below(10) {
                // Half of the flips where the metadata is.
                let len = image.len() as u64;
                let place = match round % 2 {
                    0 => random.below(len),
                    _ => len - 1 - random.below(len.min(9000)),
                };
                image[place as usize] ^= 1 << random.below(8);
            }
            if round % 8 == 7 {
                let len = random.below(image.len() as u64) as usize;
                image.truncate(len);
                // Or else the length alone would refuse all of them.
                if round % 16 == 15 && len > 96 {
                    image[40..48].copy_from_slice(&(len as u64).to_le_bytes());
                }
            }
            total += walk(image);
        }
        eprintln!("{options:?}: {total:?}");
        assert!(total.refused > 0 && total.errors > 0);
    }
    check_memory();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    use skiff_fs::tree::{Tree, TreeError};

    let Some(original) = pack(image::STORED) else {
        return;
    };
    let name = b"unmistakable";
    let place = original
        .windows(name.len())
        .rposition(|window| window == name)
        .unwrap();
    for evil in [b"../../../etc", b"unmist/kable", b"unmist\0kable"] {
        let mut image = original.clone();
        image[place..place + evil.len()].copy_from_slice(evil);
        let tree = walk::open(image).unwrap();
        let mut seen = Vec::new();
        let error = tree
            .read_dir(tree.root(), 0, &mut |entry| {
                seen.push(entry.name.to_vec());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap_err();
        assert!(matches!(error, TreeError::Damaged { .. }), "{error}");
        assert!(seen.iter().all(|name| name != evil));
        assert_eq!(tree.lookup(tree.root(), evil).unwrap(), None);
        // The others are still found.
        assert!(tree.lookup(tree.root(), b"content").unwrap().is_some());
    }
}
