#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect"
)]

use std::fs::File;
use std::sync::Arc;

use super::config::Config;
use super::{GocryptfsError, open, pack, unlock};
use crate::format::squashfs::{Squashfs, SquashfsOptions};
use crate::source::{FileSource, Source, Window};
use crate::tree::Tree;

fn packed(content: &[u8], offset: u64) -> Arc<dyn Tree> {
    let file = tempfile::tempfile().unwrap();
    let packed = pack(
        &mut &content[..],
        content.len() as u64,
        b"secret",
        &file,
        offset,
        1,
    )
    .unwrap();
    assert_eq!(packed.len % 4096, 0);
    tree(file, offset, packed.len)
}

fn tree(file: File, offset: u64, len: u64) -> Arc<dyn Tree> {
    let source: Arc<dyn Source> = Arc::new(FileSource::new(file).unwrap());
    let window = Window::new(source, offset, len).unwrap();
    Arc::new(Squashfs::open(Arc::new(window), SquashfsOptions::default()).unwrap())
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 4096) as u8).collect()
}

#[test]
fn what_is_packed_is_read_again() {
    for len in [0, 1, 4095, 4096, 4097, 300_000, 2_000_001] {
        let content = bytes(len);
        let outer = packed(&content, 4096);
        let key = unlock(&*outer, b"secret").unwrap();
        let inner = open(outer, &key);
        if len == 0 {
            // An empty file has no header, and is no image.
            assert!(inner.is_err());
            continue;
        }
        let inner = inner.unwrap();
        assert_eq!(inner.size(), len as u64);
        let mut all = vec![0; len];
        inner.read_exact_at(&mut all, 0).unwrap();
        assert!(all == content, "{len}");
        for (at, count) in [(0, 1), (len / 2, 5000), (len - 1, 10), (len, 10)] {
            let mut part = vec![0; count];
            let got = inner.read_at(&mut part, at as u64).unwrap();
            let end = (at + count).min(len);
            assert_eq!(&part[..got], &content[at..end], "{len} {at} {count}");
        }
    }
}

#[test]
fn another_secret_opens_nothing() {
    let outer = packed(&bytes(10_000), 0);
    let error = unlock(&*outer, b"Secret").unwrap_err();
    assert!(matches!(error, GocryptfsError::Password), "{error}");
    // A key of another image meets blocks that it did not seal.
    let other = packed(&bytes(10_000), 0);
    let key = unlock(&*other, b"secret").unwrap();
    let inner = open(outer, &key).unwrap();
    let error = inner.read_at(&mut [0; 10], 0).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn hostile_configurations_are_refused() {
    let good = r#"{"EncryptedKey": "", "ScryptObject": {"Salt": "", "N": 65536, "R": 8, "P": 1,
        "KeyLen": 32}, "Version": 2, "FeatureFlags": ["HKDF", "GCMIV128"]}"#;
    assert!(Config::parse(good.as_bytes()).is_ok());
    for (from, to) in [
        ("\"Version\": 2", "\"Version\": 1"),
        ("\"HKDF\", ", ""),
        ("\"HKDF\"", "\"HKDF\", \"AESSIV\""),
        ("{", ""),
    ] {
        let text = good.replacen(from, to, 1);
        assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
    }
    let key = "A".repeat(84) + "AA==";
    for (from, to) in [
        ("65536", "18446744073709551615"),
        ("65536", "65535"),
        ("65536", "0"),
        ("65536", "1073741824"),
        ("\"R\": 8", "\"R\": 4294967295"),
        ("\"P\": 1", "\"P\": 4294967295"),
        ("\"R\": 8", "\"R\": 0"),
        ("\"P\": 1", "\"P\": 0"),
        ("\"KeyLen\": 32", "\"KeyLen\": 16"),
        ("\"EncryptedKey\": \"", "\"EncryptedKey\": \"AAAA"),
        ("\"Salt\": \"", "\"Salt\": \"%"),
    ] {
        let text = good
            .replacen(
                "\"EncryptedKey\": \"",
                &format!("\"EncryptedKey\": \"{key}"),
                1,
            )
            .replacen(from, to, 1);
        let config = Config::parse(text.as_bytes()).unwrap();
        let error = config.unlock(b"x").unwrap_err();
        assert!(
            matches!(error, GocryptfsError::Config(_)),
            "{text}: {error}"
        );
    }
}
