//! The squashfs reader alone: no mount, no network, the image in memory.
//!
//! `cargo bench -p skiff-benches --bench reader`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros write items of their own, and a bench may stop"
)]

use std::fs;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skiff_fs::format::squashfs::{Squashfs, SquashfsOptions};
use skiff_fs::source::MemorySource;
use skiff_fs::tree::{NodeRef, Tree};

/// Size of the file that is read.
const FILE_LEN: usize = 32 << 20;

/// What the kernel asks for at a time.
const READ_LEN: usize = 128 << 10;

fn pack(source: &Path, options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let status = Command::new("mksquashfs")
        .arg(source)
        .arg(&image)
        .args(["-quiet", "-no-progress"])
        .args(options)
        .status()
        .expect("mksquashfs (Debian: squashfs-tools) is needed");
    assert!(status.success());
    fs::read(image).unwrap()
}

fn open(image: &Arc<MemorySource>) -> Squashfs {
    Squashfs::open(Arc::clone(image) as _, SquashfsOptions::default()).unwrap()
}

fn find(tree: &Squashfs, name: &str) -> NodeRef {
    tree.lookup(tree.root(), name.as_bytes()).unwrap().unwrap()
}

/// Something that compresses about as well as programs do: the libraries of this machine.
fn program_text() -> Vec<u8> {
    let mut text = Vec::with_capacity(FILE_LEN);
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    while text.len() < FILE_LEN {
        let part = program.len().min(FILE_LEN - text.len());
        text.extend_from_slice(&program[..part]);
    }
    text
}

fn content(criterion: &mut Criterion) {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), program_text()).unwrap();
    let mut group = criterion.benchmark_group("content");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4))
        .throughput(Throughput::Bytes(FILE_LEN as u64));
    for (name, options) in [
        ("gzip", &["-comp", "gzip"][..]),
        ("zstd", &["-comp", "zstd", "-Xcompression-level", "15"]),
        ("lz4", &["-comp", "lz4"]),
        ("stored", &["-noD"]),
    ] {
        let image = Arc::new(MemorySource::new(pack(source.path(), options)));
        group.bench_function(format!("{name}, cold, front to back"), |bencher| {
            bencher.iter(|| {
                let tree = open(&image);
                let file = find(&tree, "file");
                let mut segments = Vec::new();
                for offset in (0..FILE_LEN).step_by(READ_LEN) {
                    segments.clear();
                    tree.read(file, offset as u64, READ_LEN, &mut segments)
                        .unwrap();
                    black_box(&segments);
                }
            });
        });
    }
    group.finish();

    let image = Arc::new(MemorySource::new(pack(source.path(), &[])));
    let tree = open(&image);
    let file = find(&tree, "file");
    tree.prefetch(file, 0, FILE_LEN as u64);
    let mut group = criterion.benchmark_group("one read of a decoded block");
    let mut segments = Vec::new();
    for (name, offset) in [("first block", 0), ("last block", FILE_LEN - READ_LEN)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                segments.clear();
                tree.read(file, offset as u64, 4096, &mut segments).unwrap();
                black_box(&segments);
            });
        });
    }
}

fn names(criterion: &mut Criterion) {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("large")).unwrap();
    for number in 0..100_000 {
        let path = source.path().join(format!("large/{number:06}"));
        fs::write(path, "").unwrap();
    }
    fs::create_dir(source.path().join("small")).unwrap();
    for number in 0..20 {
        fs::write(source.path().join(format!("small/{number}")), "").unwrap();
    }
    let image = Arc::new(MemorySource::new(pack(source.path(), &[])));
    let tree = open(&image);
    let mut group = criterion.benchmark_group("names");
    for name in ["small", "large"] {
        let directory = find(&tree, name);
        let names: [&[u8]; 2] = [b"7", b"077777"];
        group.bench_function(format!("look-up in a {name} directory"), |bencher| {
            bencher.iter(|| names.map(|name| tree.lookup(directory, name).unwrap()));
        });
        group.bench_function(format!("listing of a {name} directory"), |bencher| {
            bencher.iter(|| {
                let mut count = 0;
                tree.read_dir(directory, 0, &mut |entry| {
                    black_box(entry.name);
                    count += 1;
                    ControlFlow::Continue(())
                })
                .unwrap();
                count
            });
        });
    }
    let node = find(&tree, "small");
    group.bench_function("attributes", |bencher| {
        bencher.iter(|| tree.attr(black_box(node)).unwrap());
    });
    group.bench_function("open", |bencher| bencher.iter(|| open(&image)));
}

criterion_group!(benches, content, names);
criterion_main!(benches);
