//! Touches everything that an image offers, within limits of its own: a damaged directory may
//! well contain itself.

use std::ops::{AddAssign, ControlFlow};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skiff_fs::format::squashfs::{Squashfs, SquashfsError, SquashfsOptions};
use skiff_fs::source::MemorySource;
use skiff_fs::tree::{FileKind, NodeRef, Tree, TreeError};

const NODES_MAX: usize = 600;
const DEPTH_MAX: usize = 20;
const READ_LEN: usize = 300_000;
const TIME_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Images that did not open.
    pub(crate) refused: usize,
    /// Nodes that were visited.
    pub(crate) nodes: usize,
    /// Operations that failed.
    pub(crate) errors: usize,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.refused += other.refused;
        self.nodes += other.nodes;
        self.errors += other.errors;
    }
}

impl Outcome {
    fn check<T>(&mut self, result: Result<T, TreeError>) -> Option<T> {
        if result.is_err() {
            self.errors += 1;
        }
        result.ok()
    }
}

pub(crate) fn open(image: Vec<u8>) -> Result<Squashfs, SquashfsError> {
    let source = Arc::new(MemorySource::new(image));
    Squashfs::open(source, SquashfsOptions::default())
}

/// Opens, walks and reads `image`.
pub(crate) fn walk(image: Vec<u8>) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let Ok(tree) = open(image) else {
        outcome.refused = 1;
        return outcome;
    };
    let mut todo = vec![(tree.root(), 0)];
    while let Some((node, depth)) = todo.pop() {
        outcome.nodes += 1;
        if outcome.nodes > NODES_MAX {
            break;
        }
        let Some(attr) = outcome.check(tree.attr(node)) else {
            continue;
        };
        let xattrs = tree.xattrs(node, &mut |name, value| {
            assert!(name.contains(&b'.') && value.len() <= 65_536);
        });
        outcome.check(xattrs);
        match attr.kind {
            FileKind::Directory => {
                for child in directory(&tree, node, &mut outcome) {
                    if depth < DEPTH_MAX {
                        todo.push((child, depth + 1));
                    }
                }
            }
            FileKind::Symlink => {
                if let Some(target) = outcome.check(tree.read_link(node)) {
                    assert_eq!(target.len() as u64, attr.size);
                }
            }
            FileKind::Regular => read(&tree, node, attr.size, &mut outcome),
            FileKind::BlockDevice | FileKind::CharDevice | FileKind::Fifo | FileKind::Socket => {
                assert!(tree.read(node, 0, 1, &mut Vec::new()).is_err());
            }
        }
    }
    for number in [0, 1, tree.superblock().inodes, u32::MAX] {
        outcome.check(tree.node_by_number(number));
    }
    let mut strangers = Outcome::default();
    for raw in [u64::MAX >> 16, 0xFFFF, 0x1_0000, 7] {
        // Nodes that nobody was given.
        strangers.check(tree.attr(NodeRef::new(raw).unwrap()));
    }
    let elapsed = started.elapsed();
    assert!(elapsed < TIME_MAX, "{elapsed:?} for one small image");
    outcome
}

fn directory(tree: &Squashfs, node: NodeRef, outcome: &mut Outcome) -> Vec<NodeRef> {
    let mut entries = Vec::new();
    let listed = tree.read_dir(node, 0, &mut |entry| {
        assert!(!entry.name.iter().any(|byte| matches!(byte, b'/' | 0)));
        assert!(entry.name != b"." && entry.name != b".." && !entry.name.is_empty());
        assert!(entry.next != 0 && entry.next < 1 << 62);
        entries.push((entry.name.to_vec(), entry.node, entry.next));
        if entries.len() > NODES_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    outcome.check(listed);
    outcome.check(tree.parent(node));
    outcome.check(tree.lookup(node, b"no such name"));
    for (name, _, next) in entries.iter().take(8) {
        outcome.check(tree.lookup(node, name));
        let resumed = tree.read_dir(node, *next, &mut |_| ControlFlow::Break(()));
        outcome.check(resumed);
    }
    for cursor in [1, 77, u64::MAX >> 2] {
        // Cursors that nobody was given.
        tree.read_dir(node, cursor, &mut |_| ControlFlow::Break(()))
            .unwrap_or_default();
    }
    entries.into_iter().map(|(_, node, _)| node).collect()
}

fn read(tree: &Squashfs, node: NodeRef, size: u64, outcome: &mut Outcome) {
    for offset in [0, size / 2, size.saturating_sub(1), size, u64::MAX] {
        let mut segments = Vec::new();
        if outcome
            .check(tree.read(node, offset, READ_LEN, &mut segments))
            .is_some()
        {
            let expected = size.saturating_sub(offset).min(READ_LEN as u64);
            let got: usize = segments.iter().map(skiff_fs::tree::Segment::len).sum();
            assert_eq!(got as u64, expected);
        }
    }
    tree.prefetch(node, 0, READ_LEN as u64);
}
