#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop at what it does not expect"
)]

use std::sync::Arc;

use super::{Squashfs, SquashfsOptions, Superblock};
use crate::decompress::Codec;
use crate::source::MemorySource;

/// A superblock of a file system of 1000 bytes.
fn superblock() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"hsqs");
    for number in [7_u32, 1_700_000_000, 131_072, 2] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [6_u16, 17, 0x00C0, 1, 4, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [0x20_u64, 1000, 900, u64::MAX, 200, 300, 400, 500] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

#[test]
fn a_superblock_is_parsed() {
    let parsed = Superblock::parse(&superblock(), 1000).unwrap();
    assert_eq!(parsed.codec, Codec::Zstd);
    assert_eq!((parsed.inodes, parsed.fragments, parsed.ids), (7, 2, 1));
    assert_eq!((parsed.block_size, parsed.root), (131_072, 0x20));
    assert_eq!(parsed.xattr_table, None);
    assert_eq!(parsed.export_table, Some(500));
    assert_eq!(parsed.table_end(parsed.inode_table), 300);
    assert_eq!(parsed.table_end(parsed.directory_table), 400);
    assert_eq!(parsed.table_end(parsed.id_table), 1000);
    assert!(parsed.flags.exportable() && !parsed.flags.compressor_options());
}

/// The message for a superblock with `bytes` at `at`.
fn message(at: usize, bytes: &[u8]) -> String {
    let mut superblock = superblock();
    superblock[at..at + bytes.len()].copy_from_slice(bytes);
    Superblock::parse(&superblock, 1000)
        .err()
        .map_or("ok".to_owned(), |error| error.to_string())
}

#[test]
fn what_a_superblock_cannot_say() {
    let no_table = u64::MAX.to_le_bytes();
    for (at, bytes, expected) in [
        (0, &b"sqsh"[..], "not a squashfs file system"),
        (
            28,
            &[3, 0],
            "squashfs version 3.0 is not supported, only 4.0",
        ),
        (20, &[7, 0], "unknown squashfs compressor 7"),
        (
            20,
            &[2, 0],
            "squashfs with legacy lzma compression is not supported; \
             repack it with one of gzip, zstd, xz, lz4, lzo",
        ),
        (
            12,
            &[0, 0, 1, 0],
            "squashfs block size 65536 with logarithm 17 is not valid",
        ),
        (
            22,
            &[255, 255],
            "squashfs block size 131072 with logarithm 65535 is not valid",
        ),
        (
            40,
            &[0xE9, 3],
            "squashfs cut off: 1001 bytes expected, 1000 there",
        ),
        (26, &[0, 0], "squashfs without an id table"),
        (
            64,
            &no_table,
            "squashfs inode table at byte 18446744073709551615 is out of place",
        ),
        (
            72,
            &[200, 0],
            "squashfs directory table at byte 200 is out of place",
        ),
        (
            80,
            &no_table,
            "squashfs fragment table at byte 1000 is out of place",
        ),
        (
            88,
            &[95, 0],
            "squashfs export table at byte 95 is out of place",
        ),
        (88, &no_table, "ok"),
    ] {
        assert_eq!(message(at, bytes), expected);
    }
    let cut = Superblock::parse(&superblock()[..95], 95).unwrap_err();
    assert_eq!(
        cut.to_string(),
        "squashfs superblock cut off: only 95 bytes"
    );
}

#[test]
fn tables_that_do_not_fit_are_refused_before_they_are_read() {
    let mut image = superblock();
    image.resize(1000, 0);
    for (at, what) in [(4, "export table"), (16, "fragment table")] {
        let mut image = image.clone();
        image[at..at + 4].fill(0xFF);
        let source = Arc::new(MemorySource::new(image));
        let error = Squashfs::open(source, SquashfsOptions::default()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn the_data_cache_holds_blocks_for_every_thread() {
    let small = SquashfsOptions {
        metadata_cache_bytes: 0,
        data_cache_bytes: 0,
    };
    assert!(small.data_cache_bytes_for(1 << 20) >= 3 << 20);
    let large = SquashfsOptions {
        data_cache_bytes: 1 << 30,
        ..small
    };
    assert_eq!(large.data_cache_bytes_for(1 << 20), 1 << 30);
}
