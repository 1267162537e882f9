//! Large directories, where the index has to carry.

use std::fs;
use std::ops::ControlFlow;
use std::time::Instant;

use skiff_fs::tree::Tree;

use crate::build;
use crate::compare::{self, Mount};
use crate::require;

#[test]
fn a_hundred_thousand_entries() {
    if !require::tools(&["mksquashfs"]) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let mut first = source.path().join("000000");
    for number in 0..100_000 {
        let path = source.path().join(format!("{number:06}"));
        // Some file systems limit the links of one file.
        if number % 30_000 == 0 {
            fs::write(&path, "one content").unwrap();
            first = path;
        } else {
            fs::hard_link(&first, path).unwrap();
        }
    }
    for number in 0..50 {
        fs::create_dir(source.path().join(format!("{number:06}.d"))).unwrap();
    }
    let image = build::pack(source.path(), &["-comp", "lz4"]);
    let tree = compare::open(&image.path);
    if let Some(mount) = Mount::new(&image.path) {
        let root = fs::symlink_metadata(mount.path()).unwrap();
        assert_eq!(tree.attr(tree.root()).unwrap().size, root.len());
        // All of it, but not each file's content again.
        let mut names = Vec::new();
        tree.read_dir(tree.root(), 0, &mut |entry| {
            names.push(entry.name.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        let shown: Vec<_> = fs::read_dir(mount.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_encoded_bytes())
            .collect();
        assert_eq!(names, shown);
    }
    let misses = tree.metadata_stats().misses;
    let fresh = compare::open(&image.path);
    assert_eq!(fresh.lookup(fresh.root(), b"no such").unwrap(), None);
    assert!(fresh.lookup(fresh.root(), b"077777").unwrap().is_some());
    let used = fresh.metadata_stats().misses;
    assert!(used <= 10, "two look-ups read {used} metadata blocks");
    assert!(misses == 0 || misses > 100, "the whole has {misses}");

    // A listing in pieces costs about what it costs in one go.
    let piecewise = Instant::now();
    let mut cursor = 0;
    let mut count = 0;
    loop {
        let mut left = 100;
        let before = count;
        tree.read_dir(tree.root(), cursor, &mut |entry| {
            cursor = entry.next;
            count += 1;
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        if count == before {
            break;
        }
    }
    assert_eq!(count, 100_050);
    assert!(piecewise.elapsed().as_secs() < 5, "{piecewise:?}");
    for number in (0..100_000).step_by(37) {
        let name = format!("{number:06}");
        assert!(tree.lookup(tree.root(), name.as_bytes()).unwrap().is_some());
        let missing = format!("{number:06}?");
        assert!(
            tree.lookup(tree.root(), missing.as_bytes())
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn parents_without_an_export_table() {
    if !require::tools(&["mksquashfs"]) {
        return;
    }
    let image = build::pack(build::sample(), &["-no-exports"]);
    let tree = compare::open(&image.path);
    assert_eq!(tree.superblock().export_table, None);
    let mut node = tree.root();
    let mut parents = vec![node];
    for name in ["deep", "level 0", "level 1", "level 2"] {
        node = tree.lookup(node, name.as_bytes()).unwrap().unwrap();
        assert_eq!(tree.parent(node).unwrap(), *parents.last().unwrap());
        parents.push(node);
    }
    assert_eq!(tree.node_by_number(0).unwrap(), None);
    assert_eq!(tree.node_by_number(u32::MAX).unwrap(), None);
    for number in (1..tree.superblock().inodes).step_by(211) {
        let node = tree.node_by_number(number).unwrap().unwrap();
        assert_eq!(tree.attr(node).unwrap().ino, u64::from(number));
    }
}
