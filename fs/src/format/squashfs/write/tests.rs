#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may stop at what it does not expect"
)]

mod profile;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Compressor, SquashfsWriter, WriteOptions};
use crate::format::squashfs::{Squashfs, SquashfsOptions};
use crate::pack::{Content, FileData, Inode, InodeId, InodeTree, Metadata, Sink, SinkError, Xattr};
use crate::source::MemorySource;
use crate::tree::{FileKind, NodeRef, Segment, Tree};

/// Bytes that compress a little, the same for the same `seed`.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 23) as u8
        })
        .collect()
}

fn metadata(permissions: u32) -> Metadata {
    Metadata {
        permissions,
        uid: 100_000,
        gid: 7,
        mtime: 1_700_000_000,
        xattrs: Arc::default(),
    }
}

/// An image being made: names in the root directory.
struct Made {
    sink: Box<SquashfsWriter>,
    tree: InodeTree,
    file: File,
}

impl Made {
    fn new(options: WriteOptions) -> Self {
        let file = tempfile::tempfile().unwrap();
        let sink = SquashfsWriter::new(file.try_clone().unwrap(), 0, options).unwrap();
        Self {
            sink: Box::new(sink),
            tree: InodeTree::new(metadata(0o755)),
            file,
        }
    }

    fn add(&mut self, directory: InodeId, name: &str, content: Content) -> InodeId {
        let inode = Inode {
            metadata: metadata(0o644),
            content,
        };
        let id = self.tree.add(inode).unwrap();
        self.link(directory, name, id);
        id
    }

    fn link(&mut self, directory: InodeId, name: &str, id: InodeId) {
        let names = self.tree.names_mut(directory).unwrap();
        names.insert(name.as_bytes().into(), id);
    }

    fn content(&mut self, content: &[u8]) -> Content {
        let size = content.len() as u64;
        let data = self.sink.file(size, &mut &content[..]).unwrap();
        Content::File(data, size)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> InodeId {
        let content = self.content(content);
        self.add(InodeId::ROOT, name, content)
    }

    fn finish(mut self) -> Vec<u8> {
        let len = self.sink.finish(&self.tree).unwrap();
        let mut image = Vec::new();
        self.file.read_to_end(&mut image).unwrap();
        assert_eq!(image.len() as u64, len);
        assert_eq!(len % 4096, 0);
        image
    }
}

fn open(image: Vec<u8>) -> Squashfs {
    Squashfs::open(
        Arc::new(MemorySource::new(image)),
        SquashfsOptions::default(),
    )
    .unwrap()
}

fn read(squashfs: &Squashfs, node: NodeRef) -> Vec<u8> {
    let len = squashfs.attr(node).unwrap().size as usize;
    let mut segments = Vec::new();
    squashfs.read(node, 0, len, &mut segments).unwrap();
    let mut content = Vec::new();
    for segment in segments {
        match segment {
            Segment::Bytes(bytes, range) => content.extend_from_slice(&bytes[range]),
            Segment::Zeros(len) => content.resize(content.len() + len, 0),
        }
    }
    content
}

fn lookup(squashfs: &Squashfs, name: &str) -> NodeRef {
    let found = squashfs.lookup(squashfs.root(), name.as_bytes()).unwrap();
    found.unwrap_or_else(|| panic!("{name} is not there"))
}

fn list(squashfs: &Squashfs, node: NodeRef) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    squashfs
        .read_dir(node, 0, &mut |entry| {
            names.push(entry.name.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    names
}

const COMPRESSORS: [Compressor; 5] = [
    Compressor::GZIP,
    Compressor::ZSTD,
    Compressor::Lz4,
    Compressor::Lzo,
    Compressor::Xz { dictionary: None },
];

fn contents(block: usize) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (number, len) in [0, 1, 100, block - 1, block, block + 1, 3 * block + 17]
        .into_iter()
        .enumerate()
    {
        files.insert(format!("file-{number}"), bytes(number as u64 + 1, len));
    }
    let mut holes = bytes(50, block);
    holes.resize(4 * block, 0);
    holes.extend(bytes(51, block));
    holes.resize(6 * block + 5, 0);
    files.insert("holes".to_owned(), holes);
    files.insert("only-holes".to_owned(), vec![0; 3 * block]);
    for number in 0..300 {
        files.insert(format!("small-{number}"), bytes(number + 1000, 700));
    }
    files
}

fn image_of(files: &BTreeMap<String, Vec<u8>>, options: WriteOptions) -> Vec<u8> {
    let mut made = Made::new(options);
    for (name, content) in files {
        made.file(name, content);
    }
    made.finish()
}

#[test]
fn what_is_written_is_read_again() {
    let options = WriteOptions::default();
    for compressor in COMPRESSORS {
        for block_size in [4096, 128 << 10] {
            let files = contents(block_size as usize);
            // Large blocks take long where nothing is optimised.
            for variant in 0..if block_size > 4096 { 1 } else { 4 } {
                let options = WriteOptions {
                    compressor,
                    block_size,
                    fragments: variant != 1,
                    always_use_fragments: variant == 2,
                    exports: variant != 3,
                    sparse: variant != 3,
                    duplicates: variant != 3,
                    compress_data: variant != 2,
                    compress_inodes: variant != 1,
                    ..options
                };
                let squashfs = open(image_of(&files, options));
                for (name, content) in &files {
                    let node = lookup(&squashfs, name);
                    assert!(&read(&squashfs, node) == content, "{name} {options:?}");
                    let attr = squashfs.attr(node).unwrap();
                    assert_eq!((attr.kind, attr.nlink), (FileKind::Regular, 1));
                    assert_eq!(
                        (attr.uid, attr.gid, attr.mtime),
                        (100_000, 7, 1_700_000_000)
                    );
                }
                let names: Vec<_> = files.keys().map(|name| name.as_bytes().to_vec()).collect();
                assert_eq!(list(&squashfs, squashfs.root()), names);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let files = contents(128 << 10);
    let image = |threads| {
        let options = WriteOptions {
            threads,
            ..WriteOptions::default()
        };
        image_of(&files, options)
    };
    let one = image(1);
    assert!(one == image(2) && one == image(9) && one == image(0));
}

#[test]
fn the_same_content_is_stored_once() {
    let large = bytes(1, 1 << 20);
    let other = bytes(2, 1 << 20);
    let small = bytes(3, 5000);
    let once = {
        let mut made = Made::new(WriteOptions::default());
        for (name, content) in [("a", &large), ("b", &other), ("c", &small)] {
            made.file(name, content);
        }
        made.finish().len()
    };
    let mut made = Made::new(WriteOptions::default());
    for (name, content) in [
        ("a", &large),
        ("a2", &large),
        ("b", &other),
        ("a3", &large),
        ("b2", &other),
        ("c", &small),
        ("c2", &small),
    ] {
        made.file(name, content);
    }
    let image = made.finish();
    assert!(image.len() <= once + 4096, "{} {once}", image.len());
    let squashfs = open(image);
    for (name, content) in [
        ("a2", &large),
        ("a3", &large),
        ("b2", &other),
        ("c2", &small),
    ] {
        assert!(
            &read(&squashfs, lookup(&squashfs, name)) == content,
            "{name}"
        );
    }
    // A file that starts as another, but goes on, is another.
    let mut made = Made::new(WriteOptions::default());
    made.file("a", &large);
    made.file("longer", &[&large[..], &small].concat());
    let squashfs = open(made.finish());
    assert_eq!(
        read(&squashfs, lookup(&squashfs, "longer")).len(),
        (1 << 20) + 5000
    );
}

#[test]
fn all_kinds_of_files_and_attributes() {
    let mut made = Made::new(WriteOptions::default());
    let root = InodeId::ROOT;
    let target = made.file("target", b"content");
    made.link(root, "second", target);
    let directory = made.add(root, "directory", Content::Directory(BTreeMap::new()));
    made.link(directory, "third", target);
    made.add(directory, "below", Content::Directory(BTreeMap::new()));
    made.add(
        root,
        "link",
        Content::Symlink(b"directory/third"[..].into()),
    );
    made.add(root, "char", Content::CharDevice(0x0010_0203));
    made.add(root, "block", Content::BlockDevice(0x0801));
    made.add(root, "fifo", Content::Fifo);
    made.add(root, "socket", Content::Socket);
    let long = vec![b'v'; 300];
    let attributes: Arc<[Xattr]> = [
        (
            b"security.capability"[..].into(),
            b"\x01\0\0\x02"[..].into(),
        ),
        (b"system.other"[..].into(), b"left out"[..].into()),
        (b"user.long"[..].into(), long.as_slice().into()),
    ]
    .into();
    let again: Arc<[Xattr]> = [(b"trusted.long"[..].into(), long.as_slice().into())].into();
    for name in [
        "link",
        "char",
        "block",
        "fifo",
        "socket",
        "directory",
        "target",
    ] {
        let id = made.tree.names(root).unwrap()[name.as_bytes()];
        made.tree.get_mut(id).metadata.xattrs = Arc::clone(&attributes);
    }
    made.tree.get_mut(root).metadata.xattrs = again;
    let squashfs = open(made.finish());
    let attr = |name| squashfs.attr(lookup(&squashfs, name)).unwrap();
    assert_eq!(attr("target").nlink, 3);
    assert_eq!(attr("target").ino, attr("second").ino);
    assert_eq!(attr("directory").nlink, 3);
    assert_eq!(squashfs.attr(squashfs.root()).unwrap().nlink, 3);
    assert_eq!(
        squashfs.parent(lookup(&squashfs, "directory")).unwrap(),
        squashfs.root()
    );
    assert_eq!(
        (attr("char").kind, attr("char").rdev),
        (FileKind::CharDevice, 0x0010_0203)
    );
    assert_eq!(
        (attr("block").kind, attr("block").rdev),
        (FileKind::BlockDevice, 0x0801)
    );
    assert_eq!(attr("fifo").kind, FileKind::Fifo);
    assert_eq!(attr("socket").kind, FileKind::Socket);
    let link = squashfs.read_link(lookup(&squashfs, "link")).unwrap();
    assert_eq!(link, b"directory/third");
    let of = |node| {
        let mut found = Vec::new();
        squashfs
            .xattrs(node, &mut |name, value| {
                found.push((name.to_vec(), value.to_vec()));
            })
            .unwrap();
        found
    };
    for name in [
        "link",
        "char",
        "block",
        "fifo",
        "socket",
        "directory",
        "target",
    ] {
        assert_eq!(
            of(lookup(&squashfs, name)),
            [
                (b"security.capability".to_vec(), b"\x01\0\0\x02".to_vec()),
                (b"user.long".to_vec(), long.clone()),
            ]
        );
    }
    assert_eq!(
        of(squashfs.root()),
        [(b"trusted.long".to_vec(), long.clone())]
    );
}

#[test]
fn large_directories_have_an_index() {
    let mut made = Made::new(WriteOptions::default());
    let names: Vec<String> = (0..30_000)
        .map(|n| format!("{n:05}{}", "x".repeat(n % 250)))
        .collect();
    for name in &names {
        made.add(InodeId::ROOT, name, Content::Fifo);
    }
    let squashfs = open(made.finish());
    let found = list(&squashfs, squashfs.root());
    assert!(found.iter().eq(names.iter().map(String::as_bytes)));
    for name in names.iter().step_by(997) {
        lookup(&squashfs, name);
    }
    assert_eq!(squashfs.lookup(squashfs.root(), b"00000x").unwrap(), None);
}

#[test]
fn deep_trees_and_empty_ones() {
    let squashfs = open(Made::new(WriteOptions::default()).finish());
    assert_eq!(list(&squashfs, squashfs.root()), Vec::<Vec<u8>>::new());
    let mut made = Made::new(WriteOptions::default());
    let mut at = InodeId::ROOT;
    for _ in 0..20_000 {
        at = made.add(at, "d", Content::Directory(BTreeMap::new()));
    }
    let squashfs = open(made.finish());
    let mut node = squashfs.root();
    for _ in 0..20_000 {
        node = squashfs.lookup(node, b"d").unwrap().unwrap();
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let message = |change: fn(&mut Made)| {
        let mut made = Made::new(WriteOptions::default());
        change(&mut made);
        made.sink.finish(&made.tree).unwrap_err().to_string()
    };
    for name in ["", ".", "..", "a/b"] {
        let mut made = Made::new(WriteOptions::default());
        made.add(InodeId::ROOT, name, Content::Fifo);
        let error = made.sink.finish(&made.tree).unwrap_err();
        assert!(error.to_string().contains("name of a file"), "{error}");
    }
    let circle = message(|made| {
        let directory = made.add(InodeId::ROOT, "d", Content::Directory(BTreeMap::new()));
        made.link(directory, "up", InodeId::ROOT);
    });
    assert_eq!(circle, "directory up has two names");
    let foreign = message(|made| {
        made.add(InodeId::ROOT, "f", Content::File(FileData(3), 1));
    });
    assert_eq!(foreign, "no content number 3 of 1 bytes was taken");
    let owners = message(|made| {
        for number in 0..70_000 {
            let id = made.add(InodeId::ROOT, &number.to_string(), Content::Fifo);
            made.tree.get_mut(id).metadata.uid = number;
        }
    });
    assert!(owners.contains("65535 different owners"), "{owners}");
    let mut made = Made::new(WriteOptions::default());
    let error = made.sink.file(5, &mut &b"four"[..]).unwrap_err();
    assert!(matches!(error, SinkError::Content(_)), "{error}");
}

#[test]
fn blocks_of_another_image_are_taken_over() {
    let block = 128 << 10;
    let mut holes = bytes(5, block + 77);
    holes.resize(5 * block, 0);
    let large = bytes(6, 3 * block + 9);
    // Noise, which is stored as it is.
    let noise: Vec<u8> = bytes(7, 20 * block)
        .iter()
        .fold((0_u64, Vec::new()), |(state, mut all), byte| {
            let state = (state ^ u64::from(*byte))
                .wrapping_mul(0x2545_F491_4F6C_DD1D)
                .rotate_left(23);
            all.push(state as u8);
            (state, all)
        })
        .1;
    let files = [
        ("holes", &holes),
        ("large", &large),
        ("noise", &noise),
        ("again", &large),
    ];
    let files = BTreeMap::from(files.map(|(name, content)| (name.to_owned(), content.clone())));
    let base = open(image_of(&files, WriteOptions::default()));
    for (options, over) in [
        (WriteOptions::default(), true),
        (
            WriteOptions {
                compressor: Compressor::Lz4,
                ..WriteOptions::default()
            },
            false,
        ),
        (
            WriteOptions {
                block_size: 4096,
                ..WriteOptions::default()
            },
            false,
        ),
    ] {
        let mut made = Made::new(options);
        for (name, content) in &files {
            let packed = base.packed(lookup(&base, name)).unwrap().unwrap();
            let mut unread = content.as_slice();
            let data = made.sink.packed_file(&packed, &mut unread).unwrap();
            assert_eq!(unread.len() == content.len(), over, "{name}");
            made.add(InodeId::ROOT, name, Content::File(data, packed.size));
        }
        let image = made.finish();
        for (name, content) in &files {
            let squashfs = open(image.clone());
            assert!(
                &read(&squashfs, lookup(&squashfs, name)) == content,
                "{name}"
            );
        }
        assert!(!over || image == image_of(&files, options));
    }
}

#[test]
fn a_damaged_block_of_another_image_is_found() {
    let content = bytes(1, 300_000);
    let files = BTreeMap::from([("file".to_owned(), content.clone())]);
    let mut image = image_of(&files, WriteOptions::default());
    image[104..140].fill(0xAA);
    let base = open(image);
    let packed = base.packed(lookup(&base, "file")).unwrap().unwrap();
    let mut made = Made::new(WriteOptions::default());
    let taken = made.sink.packed_file(&packed, &mut content.as_slice());
    let error = match taken {
        Ok(_) => made.sink.finish(&made.tree).unwrap_err(),
        Err(error) => error,
    };
    let SinkError::Content(error) = error else {
        panic!("{error}");
    };
    assert!(error.to_string().contains("zstd"), "{error}");
}

#[test]
fn a_full_disk_is_said() {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = match SquashfsWriter::new(file, 0, WriteOptions::default()) {
        Err(error) => error,
        Ok(mut sink) => {
            let mut failed = None;
            for seed in 0..10_000 {
                let content = bytes(seed, 128 << 10);
                if let Err(error) = sink.file(128 << 10, &mut &content[..]) {
                    failed = Some(error);
                    break;
                }
            }
            failed.unwrap()
        }
    };
    let SinkError::Write { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}
