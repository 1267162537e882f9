//! Views over a tree that lives in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::*;
use crate::tree::{Attr, Entry, Segment, TreeStat};

#[derive(Debug)]
enum Content {
    Directory(BTreeMap<Vec<u8>, u64>),
    File,
    Symlink(&'static str),
}

/// A tree written down as (path, symlink target or kind).
#[derive(Debug)]
struct Sample(Vec<Content>);

impl Sample {
    /// `entries`: "dir/", "file", "link -> target"; parents come first.
    fn new(entries: &[&'static str]) -> Self {
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

    fn node(&self, node: NodeRef) -> &Content {
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
        _: NodeRef,
        _: u64,
        _: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
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

    fn read(&self, _: NodeRef, _: u64, _: usize, _: &mut Vec<Segment>) -> Result<(), TreeError> {
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

/// Builds the view of `points` ("path/" for directories, "?" before one that must lead through real
/// directories) and lists what it adds, as "parent-in-image-or-extra/name".
fn check(tree: &[&'static str], points: &[&str], expected: &[&str]) {
    let tree = Sample::new(tree);
    let points: Vec<Point> = points
        .iter()
        .map(|text| Point {
            path: text.trim_start_matches('?').trim_end_matches('/').into(),
            directory: text.ends_with('/'),
            only_through_directories: text.starts_with('?'),
        })
        .collect();
    let view = View::build(&tree, &points).unwrap();
    let mut found = Vec::new();
    walk(&view, &tree, Place::Image(tree.root()), "", &mut found);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(view.extra_count(), expected.len());
}

fn walk(view: &View, tree: &Sample, dir: Place, path: &str, found: &mut Vec<String>) {
    let extras = match dir {
        Place::Image(node) => view.names_in(node),
        Place::Extra(index) => &view.extra(index).unwrap().children,
    };
    for (name, index) in extras {
        let path = format!("{path}/{}", String::from_utf8_lossy(name));
        if view.extra(*index).unwrap().directory {
            found.push(format!("{path}/"));
            walk(view, tree, Place::Extra(*index), &path, found);
        } else {
            found.push(path);
        }
    }
    if let Place::Image(node) = dir
        && let Content::Directory(names) = tree.node(node)
    {
        for (name, number) in names {
            let child = Place::Image(NodeRef::new(*number).unwrap());
            if matches!(tree.0[*number as usize], Content::Directory(_)) {
                let path = format!("{path}/{}", String::from_utf8_lossy(name));
                walk(view, tree, child, &path, found);
            }
        }
    }
}

#[test]
fn what_exists_is_not_added() {
    check(&["etc/", "etc/hosts"], &["/etc/hosts", "/etc/"], &[]);
}

#[test]
fn missing_parents_are_added_once() {
    check(
        &["etc/"],
        &["/home/u/", "/home/u/data/", "/etc/hosts"],
        &["/etc/hosts", "/home/", "/home/u/", "/home/u/data/"],
    );
}

#[test]
fn links_are_followed_inside_the_image() {
    check(
        &[
            "run/",
            "etc/",
            "etc/resolv.conf -> ../../run/dns/resolv.conf",
            "var -> /run",
        ],
        &["/etc/resolv.conf", "/var/tmp/"],
        &["/run/dns/", "/run/dns/resolv.conf", "/run/tmp/"],
    );
}

#[test]
fn loops_and_files_in_the_way_add_nothing() {
    check(
        &["a -> b", "b -> a", "file"],
        &["/a/x/", "/file/x/", "/a"],
        &[],
    );
}

#[test]
fn the_working_directory_never_goes_through_links() {
    check(
        &["real/", "link -> real"],
        &["?/link/work/", "?/real/work/", "?/new/work/"],
        &["/new/", "/new/work/", "/real/work/"],
    );
}

#[test]
fn a_file_point_is_no_directory_for_the_next() {
    check(&[], &["/f", "/f/below/"], &["/f"]);
}
