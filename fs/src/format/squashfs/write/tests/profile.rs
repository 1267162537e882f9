//! Files that an access profile names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;

use super::{bytes, contents, lookup, metadata, open, read};
use crate::format::squashfs::write::{Finished, SquashfsWriter, WriteOptions};
use crate::pack::{AccessProfile, Content, Inode, InodeId, InodeTree, Sink, SinkError};
use crate::tree::Tree;

const BLOCK: usize = 4096;

/// An image of these files, and what the writer says of it.
fn image_of(
    files: &BTreeMap<String, Vec<u8>>,
    profile: &str,
    threads: usize,
) -> (Vec<u8>, Finished) {
    let options = WriteOptions {
        block_size: BLOCK as u32,
        threads,
        ..WriteOptions::default()
    };
    let mut file = tempfile::tempfile().unwrap();
    let profile = Arc::new(AccessProfile::parse(profile.as_bytes()));
    let mut sink = SquashfsWriter::new(file.try_clone().unwrap(), 0, options)
        .unwrap()
        .with_profile(profile, tempfile::tempfile().unwrap());
    let mut tree = InodeTree::new(metadata(0o755));
    for (name, content) in files {
        sink.next_file(name.as_bytes());
        let size = content.len() as u64;
        let data = sink.file(size, &mut content.as_slice()).unwrap();
        let inode = Inode {
            metadata: metadata(0o644),
            content: Content::File(data, size),
        };
        let id = tree.add(inode).unwrap();
        let names = tree.names_mut(InodeId::ROOT).unwrap();
        names.insert(name.as_bytes().into(), id);
    }
    let finished = sink.complete(&tree).unwrap();
    file.rewind().unwrap();
    let mut image = Vec::new();
    file.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, finished.size);
    (image, finished)
}

#[test]
fn they_lie_together_in_its_order() {
    let mut files = contents(BLOCK);
    for number in 0..10 {
        files.insert(format!("whole-{number}"), bytes(number + 77, 2 * BLOCK));
    }
    let profile = "/whole-7\nsmall-5\n/whole-2\nfile-6\nholes\nnone\nsmall-200\n/whole-9\n/whole-7";
    let (image, finished) = image_of(&files, profile, 0);
    assert_eq!(image, image_of(&files, profile, 1).0, "threads change it");
    let range = finished.profile.unwrap();
    assert!(range.end <= finished.size, "{range:?}");
    let squashfs = open(image);
    for (name, content) in &files {
        assert!(
            &read(&squashfs, lookup(&squashfs, name)) == content,
            "{name}"
        );
    }
    let start = |number: u32| {
        let node = lookup(&squashfs, &format!("whole-{number}"));
        squashfs.packed(node).unwrap().unwrap().start
    };
    assert!(start(7) < start(2) && start(2) < start(9));
    for number in 0..10 {
        let is_named = [7, 2, 9].contains(&number);
        assert_eq!(range.contains(&start(number)), is_named, "{number}");
    }
    assert_eq!(range.start, start(7));
    // No more than they need.
    assert!(range.end - range.start < 16 * BLOCK as u64, "{range:?}");
}

#[test]
fn without_one_nothing_is_said() {
    let files = contents(BLOCK);
    let (plain, finished) = image_of(&files, "", 0);
    assert_eq!(finished.profile, None);
    let (none, finished) = image_of(&files, "/none\nfile-0\n", 0);
    // The empty file has no content that could lie anywhere.
    assert_eq!(finished.profile, None);
    assert_eq!(none.len(), plain.len());
}

#[test]
fn content_that_ends_early_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    let profile = Arc::new(AccessProfile::parse(b"a"));
    let mut sink = SquashfsWriter::new(file, 0, WriteOptions::default())
        .unwrap()
        .with_profile(profile, tempfile::tempfile().unwrap());
    sink.next_file(b"a");
    let error = sink.file(10, &mut &b"short"[..]).unwrap_err();
    assert!(matches!(error, SinkError::Content(_)), "{error}");
}

#[test]
fn no_room_to_keep_them_is_said() {
    let file = tempfile::tempfile().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let profile = Arc::new(AccessProfile::parse(b"a"));
    let mut sink = SquashfsWriter::new(file, 0, WriteOptions::default())
        .unwrap()
        .with_profile(profile, full);
    sink.next_file(b"a");
    let content = bytes(1, 1 << 20);
    let error = sink
        .file(content.len() as u64, &mut content.as_slice())
        .unwrap_err();
    let SinkError::Write { what, source } = error else {
        panic!("{error}");
    };
    assert_eq!(what, "a temporary file");
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}
