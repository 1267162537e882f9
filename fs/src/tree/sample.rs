//! A tree in memory, for tests of what stands above trees.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Attr, Entry, FileKind, NodeRef, Segment, Tree, TreeError, TreeStat};

#[derive(Debug)]
pub(crate) enum Content {
    Directory(BTreeMap<Vec<u8>, u64>),
    File,
    Symlink(&'static str),
}

/// A tree written down as (path, symlink target or kind).
#[derive(Debug)]
pub(crate) struct Sample(pub(crate) Vec<Content>);

impl Sample {
    /// `entries`: "dir/", "file", "link -> target"; parents come first.
    pub(crate) fn new(entries: &[&'static str]) -> Self {
        let mut nodes = vec![Content::Directory(BTreeMap::new())];
        for entry in entries {
            let (path, content) = match entry.split_once(" -> ") {
                Some((path, target)) => (path, Content::Symlink(target)),
                None if entry.ends_with('/') => (
                    entry.trim_end_matches('/'),
                    Content::Directory(BTreeMap::new()),
                ),
                None => (*entry, Content::File),
            };
            let number = nodes.len() as u64;
            nodes.push(content);
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut at = 0;
            for part in parent.split('/').filter(|part| !part.is_empty()) {
                let Content::Directory(names) = &nodes[at] else {
                    panic!("{parent}")
                };
                at = names[part.as_bytes()] as usize;
            }
            let Content::Directory(names) = &mut nodes[at] else {
                panic!("{parent}")
            };
            names.insert(name.as_bytes().to_vec(), number);
        }
        Self(nodes)
    }

    pub(crate) fn node(&self, node: NodeRef) -> &Content {
        &self.0[node.get() as usize]
    }
}

impl Tree for Sample {
    fn root(&self) -> NodeRef {
        NodeRef::new(0).unwrap()
    }

    fn attr(&self, node: NodeRef) -> Result<Attr, TreeError> {
        let kind = match self.node(node) {
            Content::Directory(_) => FileKind::Directory,
            Content::File => FileKind::Regular,
            Content::Symlink(_) => FileKind::Symlink,
        };
        let (ino, permissions) = (node.get() + 1, 0o755);
        Ok(Attr {
            ino,
            kind,
            permissions,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            mtime: 0,
        })
    }

    fn lookup(&self, dir: NodeRef, name: &[u8]) -> Result<Option<NodeRef>, TreeError> {
        let Content::Directory(names) = self.node(dir) else {
            return Err(TreeError::NotDirectory);
        };
        Ok(names.get(name).and_then(|number| NodeRef::new(*number)))
    }

    fn read_dir(
        &self,
        dir: NodeRef,
        cursor: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
        let Content::Directory(names) = self.node(dir) else {
            return Err(TreeError::NotDirectory);
        };
        for (position, (name, number)) in (1_u64..).zip(names).skip(cursor as usize) {
            let node = NodeRef::new(*number).unwrap();
            let attr = self.attr(node)?;
            let entry = Entry {
                name,
                node,
                ino: attr.ino,
                kind: attr.kind,
                next: position,
            };
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn parent(&self, dir: NodeRef) -> Result<NodeRef, TreeError> {
        Ok(dir)
    }

    fn read_link(&self, node: NodeRef) -> Result<Vec<u8>, TreeError> {
        match self.node(node) {
            Content::Symlink(target) => Ok(target.as_bytes().to_vec()),
            _ => Err(TreeError::NotSymlink),
        }
    }

    fn read(
        &self,
        _: NodeRef,
        offset: u64,
        len: usize,
        out: &mut Vec<Segment>,
    ) -> Result<(), TreeError> {
        // Every file holds "content" and a hole of one byte.
        let content: Arc<[u8]> = Arc::from(&b"content"[..]);
        let start = content.len().min(offset as usize);
        let end = content.len().min(start + len);
        out.push(Segment::Bytes(content, start..end));
        if start + len > 7 && offset < 8 {
            out.push(Segment::Zeros(1));
        }
        Ok(())
    }

    fn prefetch(&self, _: NodeRef, _: u64, _: u64) {}

    fn block_size(&self) -> u32 {
        4096
    }

    fn has_xattrs(&self) -> bool {
        false
    }

    fn xattrs(&self, _: NodeRef, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), TreeError> {
        Ok(())
    }

    fn stat(&self) -> TreeStat {
        TreeStat {
            block_size: 4096,
            bytes: 0,
            inodes: self.0.len() as u64,
            name_max: 256,
        }
    }

    fn source_bytes_read(&self) -> u64 {
        0
    }
}
