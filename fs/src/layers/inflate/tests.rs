use std::io::{Cursor, Write};

use flate2::write::GzEncoder;

use super::*;

fn sample() -> Vec<u8> {
    (0..3_000_000_u32)
        .flat_map(|number| (number / 7).to_le_bytes())
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    liblzma::encode_all(bytes, 0).unwrap()
}

fn all(bytes: Vec<u8>, expected: Expected, limits: Limits) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    inflate(Box::new(Cursor::new(bytes)), expected, limits)?.read_to_end(&mut out)?;
    Ok(out)
}

fn plain(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    all(bytes, Expected::default(), Limits::default())
}

#[test]
fn all_kinds_with_their_digests() {
    let sample = sample();
    let half = sample.len() / 2;
    for packed in [
        sample.clone(),
        gzip(&sample),
        [gzip(&sample[..half]), gzip(&sample[half..])].concat(),
        zstd(&sample),
        [zstd(&sample[..half]), zstd(&sample[half..])].concat(),
        [b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(&sample)].concat(),
        xz(&sample),
    ] {
        let expected = Expected {
            digest: Some(Digest::of(&packed)),
            size: Some(packed.len() as u64),
            diff_id: Some(Digest::of(&sample)),
        };
        assert!(all(packed, expected, Limits::default()).unwrap() == sample);
    }
    assert!(plain(Vec::new()).unwrap().is_empty());
    assert_eq!(plain(vec![b'x']).unwrap(), b"x");
}

#[test]
fn what_is_not_as_promised_is_refused() {
    let packed = gzip(b"content");
    let refused = |expected: Expected, reason: &str| {
        let error = all(packed.clone(), expected, Limits::default()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    };
    let wrong = Some(Digest::of(b"something else"));
    refused(
        Expected {
            digest: wrong.clone(),
            ..Expected::default()
        },
        "digest",
    );
    refused(
        Expected {
            diff_id: wrong,
            ..Expected::default()
        },
        "digest",
    );
    for size in [
        3,
        packed.len() as u64 - 1,
        packed.len() as u64 + 1,
        u64::MAX,
    ] {
        refused(
            Expected {
                size: Some(size),
                ..Expected::default()
            },
            "bytes",
        );
    }
}

#[test]
fn damaged_streams_are_refused() {
    let sample = sample();
    // A zstd frame has a checksum only if whoever made it asked for one.
    for (packed, sums) in [
        (gzip(&sample), true),
        (zstd(&sample), false),
        (xz(&sample), true),
    ] {
        for cut in [7, packed.len() / 2, packed.len() - 1] {
            let error = plain(packed[..cut].to_vec()).unwrap_err();
            assert!(error.to_string().contains("cut off"), "{error}");
        }
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].fill(0x55);
        assert!(!sums || plain(damaged).is_err());
        assert!(plain([packed, b"garbage".to_vec()].concat()).is_err());
    }
    let error = plain(b"BZh91AY&SY".to_vec()).unwrap_err();
    assert!(error.to_string().contains("bzip2"), "{error}");
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 64 << 20];
    let limits = Limits {
        ratio: 100,
        ratio_from: 8 << 20,
        ..Limits::default()
    };
    let error = all(zstd(&zeros), Expected::default(), limits).unwrap_err();
    assert!(error.to_string().contains("bomb"), "{error}");
    let limits = Limits {
        unpacked: 8 << 20,
        ..Limits::default()
    };
    let error = all(gzip(&zeros), Expected::default(), limits).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn readers_may_stop_early() {
    let packed = gzip(&vec![1; 64 << 20]);
    let mut reader = inflate(
        Box::new(Cursor::new(packed)),
        Expected::default(),
        Limits::default(),
    )
    .unwrap();
    let mut one = [0];
    reader.read_exact(&mut one).unwrap();
    drop(reader);
}
