//! A file beyond 32 bits, with a list of block sizes that is worth remembering.

use std::fs::File;
use std::os::unix::fs::FileExt;

use skiff_fs::tree::Tree;

use crate::build::{self, Random};
use crate::{compare, require};

const LEN: u64 = (4 << 30) + (600 << 20) + 77;

#[test]
fn more_than_four_gigabytes() {
    if !require::tools(&["mksquashfs"]) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let file = File::create(source.path().join("file")).unwrap();
    file.set_len(LEN).unwrap();
    let mut random = Random(5);
    // Islands in a hole, some over the borders of blocks.
    let islands: Vec<(u64, Vec<u8>)> = (0..60)
        .map(|number| {
            let offset = number * (LEN / 60) + random.below(1 << 20);
            let len = random.below(300_000) as usize;
            (offset, random.bytes(len))
        })
        .collect();
    for (offset, bytes) in &islands {
        file.write_all_at(bytes, *offset).unwrap();
    }
    let image = build::pack(source.path(), &["-comp", "lz4"]);
    let tree = compare::open(&image.path);
    let node = tree.lookup(tree.root(), b"file").unwrap().unwrap();
    let attr = tree.attr(node).unwrap();
    assert_eq!(attr.size, LEN);
    assert!(attr.blocks < (LEN / 100) / 512, "holes take no room");
    // From the end to the start, so that the first read goes through the whole list.
    for (offset, bytes) in islands.iter().rev() {
        let offset = offset.saturating_sub(10);
        let len = bytes.len() + 20;
        let mut shown = vec![0; len];
        let source = File::open(source.path().join("file")).unwrap();
        let count = source.read_at(&mut shown, offset).unwrap();
        shown.truncate(count);
        assert!(compare::read(&tree, node, offset, len) == shown, "{offset}");
    }
    assert_eq!(compare::read(&tree, node, LEN - 5, 100).len(), 5);
}
