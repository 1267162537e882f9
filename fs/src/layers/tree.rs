//! The tree of an image as a layer, which is the lowest one: an image that another is built from.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::entry::{Entry, EntryKind, Layer, LayerError, Visit};
use super::tar::{PathError, clean, shown};
use crate::pack::{Metadata, Xattr};
use crate::tree::{FileKind, NodeRef, PackedContent, Segment, Tree, TreeError};

/// Read from a file at a time; whole blocks of any format.
const STEP: usize = 1 << 20;
/// Deeper than any path that Linux can name.
const DEEPEST: usize = 4096;

/// All that an image's tree has.
#[derive(Debug)]
pub struct TreeLayer {
    name: String,
    tree: Arc<dyn Tree>,
}

impl TreeLayer {
    /// Everything in `tree`; `name` is for messages.
    pub fn new(name: impl Into<String>, tree: Arc<dyn Tree>) -> Self {
        Self {
            name: name.into(),
            tree,
        }
    }
}

/// A directory that is being gone through.
struct Open {
    path: Vec<u8>,
    entries: std::vec::IntoIter<(Box<[u8]>, NodeRef, FileKind)>,
}

struct Walk<'a> {
    layer: &'a TreeLayer,
    /// First names of files that have several.
    named: HashMap<NodeRef, Vec<u8>>,
    none: Arc<[Xattr]>,
}

impl Layer for TreeLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn visit(&mut self, visit: &mut Visit<'_>) -> Result<(), LayerError> {
        let mut walk = Walk {
            layer: self,
            named: HashMap::new(),
            none: Arc::from([]),
        };
        let root = self.tree.root();
        walk.emit(Vec::new(), root, visit)?;
        let mut stack = vec![walk.open(Vec::new(), root)?];
        while let Some(open) = stack.last_mut() {
            let Some((name, node, kind)) = open.entries.next() else {
                stack.pop();
                continue;
            };
            let mut path = open.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            walk.emit(path.clone(), node, visit)?;
            if kind == FileKind::Directory {
                if stack.len() >= DEEPEST {
                    return Err(walk.wrong(&path, "directories lie too deep in each other"));
                }
                stack.push(walk.open(path, node)?);
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn wrong(&self, path: &[u8], reason: impl Into<String>) -> LayerError {
        LayerError::Entry {
            layer: self.layer.name.clone(),
            path: shown(path),
            reason: reason.into(),
        }
    }

    fn failed(&self, path: &[u8], error: &TreeError) -> LayerError {
        let mut reason = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            reason = format!("{reason}: {source}");
        }
        self.wrong(path, reason)
    }

    fn open(&self, path: Vec<u8>, node: NodeRef) -> Result<Open, LayerError> {
        let mut entries = Vec::new();
        self.layer
            .tree
            .read_dir(node, 0, &mut |entry| {
                entries.push((entry.name.into(), entry.node, entry.kind));
                ControlFlow::Continue(())
            })
            .map_err(|error| self.failed(&path, &error))?;
        Ok(Open {
            path,
            entries: entries.into_iter(),
        })
    }

    fn emit(
        &mut self,
        path: Vec<u8>,
        node: NodeRef,
        visit: &mut Visit<'_>,
    ) -> Result<(), LayerError> {
        // A damaged image may hold names that lead elsewhere.
        if clean(&path) != Ok(path.clone()) {
            let error = clean(&path).err().unwrap_or(PathError::Nul);
            return Err(self.wrong(&path, error.to_string()));
        }
        let tree = Arc::clone(&self.layer.tree);
        let attr = tree
            .attr(node)
            .map_err(|error| self.failed(&path, &error))?;
        if attr.nlink > 1 && attr.kind != FileKind::Directory {
            if let Some(first) = self.named.get(&node) {
                let entry = Entry {
                    path,
                    kind: EntryKind::HardLink {
                        target: first.clone(),
                    },
                    metadata: Metadata::default(),
                };
                return visit(entry, &mut io::empty());
            }
            self.named.insert(node, path.clone());
        }
        let kind = match attr.kind {
            FileKind::Regular => {
                let packed = tree
                    .packed(node)
                    .map_err(|error| self.failed(&path, &error))?;
                match packed {
                    Some(packed) => EntryKind::Packed(PackedContent {
                        shared: attr.nlink > 1,
                        ..packed
                    }),
                    None => EntryKind::File { size: attr.size },
                }
            }
            FileKind::Directory => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink {
                target: tree
                    .read_link(node)
                    .map_err(|error| self.failed(&path, &error))?,
            },
            FileKind::CharDevice => EntryKind::CharDevice(attr.rdev),
            FileKind::BlockDevice => EntryKind::BlockDevice(attr.rdev),
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Socket => EntryKind::Socket,
        };
        let metadata = Metadata {
            permissions: attr.permissions,
            uid: attr.uid,
            gid: attr.gid,
            mtime: attr.mtime,
            xattrs: self.xattrs(&path, node)?,
        };
        let mut content = Content {
            tree,
            node,
            at: 0,
            size: attr.size,
            segments: Vec::new().into_iter(),
            segment: None,
        };
        let entry = Entry {
            path,
            kind,
            metadata,
        };
        visit(entry, &mut content)
    }

    fn xattrs(&self, path: &[u8], node: NodeRef) -> Result<Arc<[Xattr]>, LayerError> {
        let tree = &self.layer.tree;
        if !tree.has_xattrs() {
            return Ok(Arc::clone(&self.none));
        }
        let mut xattrs: Vec<Xattr> = Vec::new();
        tree.xattrs(node, &mut |name, value| {
            xattrs.push((name.into(), value.into()));
        })
        .map_err(|error| self.failed(path, &error))?;
        if xattrs.is_empty() {
            return Ok(Arc::clone(&self.none));
        }
        xattrs.sort();
        Ok(xattrs.into())
    }
}

/// Reads a file of the tree from its start to its end.
struct Content {
    tree: Arc<dyn Tree>,
    node: NodeRef,
    at: u64,
    size: u64,
    segments: std::vec::IntoIter<Segment>,
    segment: Option<(Segment, usize)>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((segment, taken)) = &mut self.segment {
                let count = (segment.len() - *taken).min(buffer.len());
                match segment {
                    Segment::Bytes(bytes, range) => {
                        let start = range.start + *taken;
                        buffer[..count].copy_from_slice(&bytes[start..start + count]);
                    }
                    Segment::Zeros(_) => buffer[..count].fill(0),
                }
                *taken += count;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                self.segment = None;
            }
            if let Some(next) = self.segments.next() {
                self.segment = Some((next, 0));
                continue;
            }
            if self.at >= self.size {
                return Ok(0);
            }
            let mut segments = Vec::new();
            self.tree
                .read(self.node, self.at, STEP, &mut segments)
                .map_err(io::Error::other)?;
            let got: usize = segments.iter().map(Segment::len).sum();
            if got == 0 {
                return Ok(0);
            }
            self.at += got as u64;
            self.segments = segments.into_iter();
        }
    }
}
