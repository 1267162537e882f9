//! Compares a tree with a directory that Linux shows: a mount of the same image, or the source it
//! was packed from.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use skiff_fs::format::squashfs::{Squashfs, SquashfsOptions};
use skiff_fs::source::FileSource;
use skiff_fs::tree::{FileKind, NodeRef, Segment, Tree};
use tempfile::TempDir;

use crate::require;

/// Files above this size are compared in places only.
const WHOLE_MAX: u64 = 64 << 20;

pub(crate) fn open(path: &Path) -> Squashfs {
    let source = FileSource::new(File::open(path).unwrap()).unwrap();
    Squashfs::open(Arc::new(source), SquashfsOptions::default()).unwrap()
}

/// A loop mount by the kernel, undone when dropped.
pub(crate) struct Mount {
    dir: TempDir,
}

impl Mount {
    /// `None` where this machine or user cannot mount.
    pub(crate) fn new(image: &Path) -> Option<Self> {
        if !require::is_root() {
            require::skip("not root, so Linux's own driver cannot be asked");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("mount")
            .args(["-t", "squashfs", "-o", "loop,ro"])
            .arg(image)
            .arg(dir.path())
            .output()
            .unwrap();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            require::skip(&format!("cannot mount a squashfs: {}", why.trim()));
            return None;
        }
        Some(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.dir.path()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.dir.path().display());
        }
    }
}

/// How much of what Linux shows must be equal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Everything: it is the same image.
    Image,
    /// What packing keeps of a source tree.
    Source,
}

/// The bytes of `[offset, offset + len)`.
pub(crate) fn read(tree: &dyn Tree, node: NodeRef, offset: u64, len: usize) -> Vec<u8> {
    let mut segments = Vec::new();
    tree.read(node, offset, len, &mut segments).unwrap();
    let mut bytes = Vec::with_capacity(len);
    for segment in segments {
        assert!(!segment.is_empty());
        match segment {
            Segment::Bytes(shared, range) => bytes.extend_from_slice(&shared[range]),
            Segment::Zeros(count) => bytes.resize(bytes.len() + count, 0),
        }
    }
    bytes
}

/// Compares all of `tree` with `root`; returns how many nodes there were.
pub(crate) fn trees(tree: &dyn Tree, root: &Path, depth: Depth) -> usize {
    let mut nodes_by_ino = HashMap::new();
    let mut count = 0;
    let mut todo = vec![(tree.root(), root.to_owned(), tree.root())];
    while let Some((node, path, parent)) = todo.pop() {
        count += 1;
        let shown = fs::symlink_metadata(&path).unwrap();
        attributes(tree, node, &path, &shown, depth);
        if depth == Depth::Image {
            let known = *nodes_by_ino.entry(shown.ino()).or_insert(node);
            assert_eq!(known, node, "identity of {}", path.display());
        }
        if shown.is_dir() {
            assert_eq!(tree.parent(node).unwrap(), parent, "{}", path.display());
            for (child, name) in directory(tree, node, &path, depth) {
                todo.push((child, path.join(name), node));
            }
        } else if shown.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            let found = tree.read_link(node).unwrap();
            assert_eq!(found, target.as_os_str().as_bytes(), "{}", path.display());
        } else if shown.is_file() {
            content(tree, node, &path, shown.len());
        }
    }
    count
}

fn kind_of(kind: fs::FileType) -> FileKind {
    match kind {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        kind if kind.is_char_device() => FileKind::CharDevice,
        kind if kind.is_fifo() => FileKind::Fifo,
        kind if kind.is_socket() => FileKind::Socket,
        _ => FileKind::Regular,
    }
}

fn attributes(tree: &dyn Tree, node: NodeRef, path: &Path, shown: &fs::Metadata, depth: Depth) {
    let attr = tree.attr(node).unwrap();
    let at = path.display();
    assert_eq!(attr.kind, kind_of(shown.file_type()), "kind of {at}");
    assert_eq!(attr.permissions, shown.mode() & 0o7777, "mode of {at}");
    assert_eq!(attr.mtime, shown.mtime(), "time of {at}");
    assert_eq!((attr.uid, attr.gid), (shown.uid(), shown.gid()), "{at}");
    assert_eq!(u64::from(attr.nlink), shown.nlink(), "links of {at}");
    let device = (
        rustix::fs::major(shown.rdev()),
        rustix::fs::minor(shown.rdev()),
    );
    let minor = (attr.rdev & 0xFF) | (attr.rdev >> 12 & !0xFF);
    assert_eq!((attr.rdev >> 8 & 0xFFF, minor), device, "device {at}");
    if depth == Depth::Image || !shown.is_dir() {
        assert_eq!(attr.size, shown.size(), "size of {at}");
    }
    if depth == Depth::Image {
        assert_eq!(attr.blocks, shown.blocks(), "blocks of {at}");
        assert_eq!(attr.ino, shown.ino(), "inode number of {at}");
    }
    let mut found = Vec::new();
    tree.xattrs(node, &mut |name, value| {
        found.push((name.to_vec(), value.to_vec()));
    })
    .unwrap();
    if depth == Depth::Image {
        assert_eq!(found, shown_xattrs(path), "attributes of {at}");
    }
}

fn shown_xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        // The image has none at all.
        Err(rustix::io::Errno::NOTSUP) => 0,
        len => len.unwrap(),
    };
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65_536];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}

/// Compares a listing, whole and resumed behind each entry, and each look-up.
fn directory(tree: &dyn Tree, node: NodeRef, path: &Path, depth: Depth) -> Vec<(NodeRef, PathBuf)> {
    let mut entries = Vec::new();
    tree.read_dir(node, 0, &mut |entry| {
        entries.push((
            entry.name.to_vec(),
            entry.node,
            entry.ino,
            entry.kind,
            entry.next,
        ));
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut shown: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let kind = kind_of(entry.file_type().unwrap());
            (entry.file_name().into_vec(), entry.ino(), kind)
        })
        .collect();
    if depth == Depth::Source {
        shown.sort_by(|one, other| one.0.cmp(&other.0));
    }
    let at = path.display();
    assert_eq!(entries.len(), shown.len(), "entries of {at}");
    for (found, shown) in entries.iter().zip(&shown) {
        assert_eq!(found.0, shown.0, "in {at}");
        assert_eq!(found.3, shown.2, "kind of {:?} in {at}", found.0);
        if depth == Depth::Image {
            assert_eq!(found.2, shown.1, "number of {:?} in {at}", found.0);
        }
    }
    for (position, (name, child, ..)) in entries.iter().enumerate() {
        assert_eq!(tree.lookup(node, name).unwrap(), Some(*child), "in {at}");
        let mut missing = name.clone();
        missing.push(b'?');
        let present = entries.iter().any(|entry| entry.0 == missing);
        assert_eq!(tree.lookup(node, &missing).unwrap().is_some(), present);
        // Reading on from every place costs too much in the large ones.
        if entries.len() < 50 || position % 97 == 0 {
            let mut rest = Vec::new();
            tree.read_dir(node, entries[position].4, &mut |entry| {
                rest.push(entry.name.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
            let expected: Vec<_> = entries[position + 1..].iter().map(|e| &e.0).collect();
            assert!(rest.iter().eq(expected), "resumed in {at}");
        }
    }
    for name in [
        &b"."[..],
        b"..",
        b"",
        b"no such name",
        b"\xff\xff\xff",
        b"a/b",
    ] {
        assert_eq!(tree.lookup(node, name).unwrap(), None, "in {at}");
    }
    entries
        .into_iter()
        .map(|(name, child, ..)| (child, std::ffi::OsString::from_vec(name).into()))
        .collect()
}

fn content(tree: &dyn Tree, node: NodeRef, path: &Path, len: u64) {
    let file = File::open(path).unwrap();
    let step = 100_001;
    let offsets: Vec<u64> = if len > WHOLE_MAX {
        vec![0, len / 3, len - 1, len - 70_000, len]
    } else {
        (0..len).step_by(step).collect()
    };
    for offset in offsets {
        let mut shown = vec![0; step];
        let count = (0..)
            .scan(0, |done, _| {
                let more = file
                    .read_at(&mut shown[*done..], offset + *done as u64)
                    .unwrap();
                *done += more;
                (more > 0).then_some(*done)
            })
            .last()
            .unwrap_or(0);
        shown.truncate(count);
        assert!(
            read(tree, node, offset, step) == shown,
            "content of {} from {offset}",
            path.display()
        );
    }
    assert_eq!(read(tree, node, len, 10), b"");
    assert_eq!(read(tree, node, u64::MAX, 10), b"");
}
