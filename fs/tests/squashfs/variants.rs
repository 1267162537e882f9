//! Every compressor, block size and writer's option gives the tree that Linux shows.

use std::thread;

use skiff_fs::tree::Tree;

use crate::build::{self, Random};
use crate::compare::{self, Depth, Mount};
use crate::require;

fn check(options: &[&str]) {
    if !require::tools(&["mksquashfs"]) {
        return;
    }
    let image = build::pack(build::sample(), options);
    let tree = compare::open(&image.path);
    let count = match Mount::new(&image.path) {
        Some(mount) => {
            let statfs = rustix::fs::statfs(mount.path()).unwrap();
            let stat = tree.stat();
            assert_eq!(u64::from(stat.block_size), statfs.f_bsize as u64);
            let blocks = stat.bytes.div_ceil(u64::from(stat.block_size));
            assert_eq!(blocks, statfs.f_blocks);
            assert_eq!(stat.inodes, statfs.f_files);
            assert_eq!(i64::from(stat.name_max), statfs.f_namelen as i64);
            compare::trees(&tree, mount.path(), Depth::Image)
        }
        None => compare::trees(&tree, build::sample(), Depth::Source),
    };
    assert!(count > 3000);
}

macro_rules! variants {
    ($($name:ident: $($option:literal)*;)*) => {
        $(
            #[test]
            fn $name() {
                check(&[$($option),*]);
            }
        )*
    };
}

variants! {
    gzip_4k: "-comp" "gzip" "-b" "4K";
    gzip_128k: "-comp" "gzip" "-b" "128K";
    gzip_1m: "-comp" "gzip" "-b" "1M";
    zstd_4k: "-comp" "zstd" "-b" "4K" "-Xcompression-level" "3";
    zstd_128k: "-comp" "zstd" "-b" "128K" "-Xcompression-level" "3";
    zstd_1m: "-comp" "zstd" "-b" "1M" "-Xcompression-level" "1";
    xz_4k: "-comp" "xz" "-b" "4K";
    xz_128k: "-comp" "xz" "-b" "128K";
    xz_1m_with_filter: "-comp" "xz" "-b" "1M" "-Xbcj" "x86";
    lz4_4k: "-comp" "lz4" "-b" "4K";
    lz4_128k: "-comp" "lz4" "-b" "128K" "-Xhc";
    lz4_1m: "-comp" "lz4" "-b" "1M";
    lzo_4k: "-comp" "lzo" "-b" "4K";
    lzo_128k: "-comp" "lzo" "-b" "128K";
    lzo_1m_fast: "-comp" "lzo" "-b" "1M" "-Xalgorithm" "lzo1x_1";
    gzip_options: "-Xcompression-level" "1" "-Xwindow-size" "8" "-Xstrategy" "huffman_only";
    no_fragments: "-no-fragments";
    always_fragments: "-always-use-fragments";
    all_stored: "-noI" "-noD" "-noF" "-noX";
    metadata_stored: "-noI" "-b" "16K";
    data_stored: "-noD";
    fragments_stored: "-noF" "-b" "1M";
    attributes_stored: "-noX";
    no_attributes: "-no-xattrs";
    no_exports: "-no-exports" "-b" "64K";
    no_sparse: "-no-sparse";
    no_duplicates: "-no-duplicates";
    all_root: "-all-root";
    no_padding: "-nopad";
}

#[test]
fn many_threads_read_what_one_reads() {
    if !require::tools(&["mksquashfs"]) {
        return;
    }
    let image = build::pack(build::sample(), &["-b", "64K"]);
    let tree = compare::open(&image.path);
    let content = tree.lookup(tree.root(), b"content").unwrap().unwrap();
    let files: Vec<_> = [
        "text-3072077",
        "noise",
        "sparse",
        "zeros",
        "small-7",
        "duplicate",
    ]
    .into_iter()
    .map(|name| {
        let node = tree.lookup(content, name.as_bytes()).unwrap().unwrap();
        let bytes = std::fs::read(build::sample().join("content").join(name)).unwrap();
        (node, bytes)
    })
    .collect();
    thread::scope(|scope| {
        for seed in 1..=8 {
            let (tree, files) = (&tree, &files);
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..400 {
                    let (node, bytes) = &files[random.below(files.len() as u64) as usize];
                    let offset = random.below(bytes.len() as u64 + 1) as usize;
                    let len = random.below(200_000) as usize;
                    let end = bytes.len().min(offset + len);
                    if random.below(4) == 0 {
                        tree.prefetch(*node, offset as u64, len as u64);
                    }
                    let found = compare::read(tree, *node, offset as u64, len);
                    assert!(found == bytes[offset..end], "{offset} and {len}");
                }
            });
        }
    });
    let stats = tree.data_stats();
    assert_eq!(stats.evictions, 0, "all fits the cache");
    let blocks: usize = files
        .iter()
        .map(|(_, bytes)| bytes.len() / 65_536 + 1)
        .sum();
    assert!(stats.misses <= blocks as u64, "a block was decoded twice");
}
