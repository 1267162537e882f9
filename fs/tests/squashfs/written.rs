//! What the writer writes is what Linux, unsquashfs and the reader find there.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use skiff_fs::format::squashfs::write::WriteOptions;
use skiff_fs::tree::Tree;

use crate::build::{self, Random};
use crate::compare::{self, Depth, Mount};
use crate::pack;
use crate::require;

/// Packs `source` with these arguments of mksquashfs and looks at the result in every way.
fn check(source: &Path, arguments: &str) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.squashfs");
    let (options, _) = WriteOptions::from_mksquashfs_args(arguments).unwrap();
    let len = pack::pack(source, &image, 0, options);
    assert_eq!(fs::metadata(&image).unwrap().len(), len);
    let tree = compare::open(&image);
    if options.uid.is_none() {
        compare::trees(&tree, source, Depth::Source);
    }
    if let Some(mount) = Mount::new(&image) {
        let count = compare::trees(&tree, mount.path(), Depth::Image);
        assert!(count > 3000);
    }
    assert_eq!(tree.superblock().export_table.is_some(), options.exports);
    let root = tree.superblock().inodes / 2;
    assert!(tree.node_by_number(root).unwrap().is_some());
    unsquashed(source, &image, options);
}

/// Unpacks with the tool that everyone has and compares again.
fn unsquashed(source: &Path, image: &Path, options: WriteOptions) {
    if !require::tools(&["unsquashfs"]) || options.uid.is_some() || !options.xattrs {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("unpacked");
    let output = Command::new("unsquashfs")
        .args(["-no-progress", "-quiet", "-dest"])
        .arg(&to)
        .arg(image)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || !require::is_root(), "{errors}");
    if require::is_root() {
        let repacked = dir.path().join("again.squashfs");
        pack::pack(&to, &repacked, 0, options);
        let first = dir.path().join("first.squashfs");
        pack::pack(source, &first, 0, options);
        assert!(fs::read(&repacked).unwrap() == fs::read(&first).unwrap());
    }
}

macro_rules! variants {
    ($($name:ident: $arguments:literal;)*) => {
        $(
            #[test]
            fn $name() {
                check(build::sample(), $arguments);
            }
        )*
    };
}

variants! {
    zstd: "";
    gzip: "-comp gzip";
    gzip_fast_4k: "-comp gzip -Xcompression-level 1 -b 4K";
    zstd_fast_1m: "-comp zstd -Xcompression-level 1 -b 1M";
    xz: "-comp xz";
    xz_dictionary: "-comp xz -b 1M -Xdict-size 512K";
    lz4: "-comp lz4";
    lz4_4k: "-comp lz4 -b 4K";
    lzo: "-comp lzo";
    lzo_1m: "-comp lzo -b 1M -Xcompression-level 9";
    no_fragments: "-no-fragments -comp lz4";
    always_fragments: "-always-use-fragments -comp lz4";
    nothing_compressed: "-no-compression";
    no_extras: "-no-exports -no-duplicates -no-sparse -no-xattrs -comp lz4";
    all_root: "-all-root -all-time 77 -comp lz4";
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let image = |threads| {
        let options = WriteOptions {
            threads,
            ..WriteOptions::default()
        };
        let path = dir.path().join(threads.to_string());
        // Where in the file it lies changes nothing.
        let offset = threads as u64 * 4096;
        pack::pack(build::sample(), &path, offset, options);
        fs::read(path).unwrap()[threads * 4096..].to_vec()
    };
    let one = image(1);
    assert!(one == image(2));
    assert!(one == image(8));
}

#[test]
fn a_directory_of_a_hundred_thousand() {
    let source = tempfile::tempdir().unwrap();
    let mut first = source.path().join("000000");
    for number in 0..100_000 {
        let path = source.path().join(format!("{number:06}"));
        if number % 30_000 == 0 {
            fs::write(&path, "one content").unwrap();
            first = path;
        } else {
            fs::hard_link(&first, path).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    pack::pack(source.path(), &image, 0, WriteOptions::default());
    let Some(mount) = Mount::new(&image) else {
        return;
    };
    let names = fs::read_dir(mount.path()).unwrap().count();
    assert_eq!(names, 100_000);
    for number in (0..100_000).step_by(97) {
        let path = mount.path().join(format!("{number:06}"));
        assert_eq!(fs::read(path).unwrap(), b"one content");
    }
    assert!(!mount.path().join("0000001").exists());
}

#[test]
fn more_than_four_gigabytes() {
    const LEN: u64 = (4 << 30) + (100 << 20) + 77;
    let source = tempfile::tempdir().unwrap();
    let file = File::create(source.path().join("file")).unwrap();
    file.set_len(LEN).unwrap();
    let mut random = Random(5);
    let islands: Vec<(u64, Vec<u8>)> = (0..20)
        .map(|number| {
            let offset = number * (LEN / 20) + random.below(1 << 20);
            let len = random.below(300_000) as usize;
            (offset, random.bytes(len))
        })
        .collect();
    for (offset, bytes) in &islands {
        file.write_all_at(bytes, *offset).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let (options, _) = WriteOptions::from_mksquashfs_args("-comp lz4 -b 1M").unwrap();
    pack::pack(source.path(), &image, 0, options);
    let tree = compare::open(&image);
    let node = tree.lookup(tree.root(), b"file").unwrap().unwrap();
    assert_eq!(tree.attr(node).unwrap().size, LEN);
    let mount = Mount::new(&image);
    for (offset, bytes) in &islands {
        assert!(&compare::read(&tree, node, *offset, bytes.len()) == bytes);
        if let Some(mount) = &mount {
            let mut shown = vec![0; bytes.len()];
            let file = File::open(mount.path().join("file")).unwrap();
            file.read_exact_at(&mut shown, *offset).unwrap();
            assert!(&shown == bytes);
        }
    }
}
