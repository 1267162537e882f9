//! A hit of the disk cache against reading the same bytes from a plain file.
//!
//! `cargo bench -p skiff-benches --bench cache`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros write items of their own, and a bench may stop"
)]

use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skiff_cache::disk::{About, BlobKey, BlobKind, Cache, Fetch, Limits};

const SIZE: u64 = 64 << 20;

/// What is read at a time.
const READ_LEN: u64 = 64 << 10;

/// Any bytes.
#[derive(Debug)]
struct Noise;

impl Fetch for Noise {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for at in range.step_by(4096) {
            sink(&[at.wrapping_mul(0x9E37_79B1).to_le_bytes()[2]; 4096])?;
        }
        Ok(())
    }
}

fn hits(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        quota: Some(1 << 30),
        keep_free: Some(0),
    };
    let cache = Cache::open(&dir.path().join("cache"), limits).unwrap();
    let key = BlobKey::new("noise");
    let about = About {
        name: "noise".into(),
        size: SIZE,
        digest: None,
        kind: BlobKind::Net,
    };
    let blob = cache.blob(&key, &about).unwrap();
    blob.fill(0..SIZE, &Noise).unwrap();
    let path = cache.dir().join(format!("blobs/{}.data", key.stem()));
    let file = std::fs::File::open(path).unwrap();
    let mut buf = vec![0; READ_LEN as usize];
    // Far apart, as a program's reads are.
    let mut places = (0..).map(|turn: u64| turn * 7919 % (SIZE / READ_LEN - 1) * READ_LEN);
    let mut place = || places.next().unwrap();

    let mut group = c.benchmark_group("cache");
    group.throughput(Throughput::Bytes(READ_LEN));
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("plain", |b| {
        b.iter(|| file.read_exact_at(black_box(&mut buf), place()).unwrap());
    });
    group.bench_function("hit", |b| {
        b.iter(|| assert!(blob.read_cached(black_box(&mut buf), place())));
    });
    group.bench_function("hit, not at a grain's start", |b| {
        b.iter(|| assert!(blob.read_cached(black_box(&mut buf), place() + 100)));
    });
    group.finish();
}

criterion_group!(benches, hits);
criterion_main!(benches);
