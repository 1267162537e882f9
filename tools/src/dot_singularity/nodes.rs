//! Files as values.

use std::collections::BTreeMap;

use skiff_fs::layers::memory::MemoryLayer;
use skiff_fs::pack::Metadata;

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file.
    File(Vec<u8>),
    /// A symbolic link to this.
    Link(String),
}

/// A file, a directory or a link; all belong to root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// Nodes by path. Paths are relative to the root and in their order, so that a directory comes
/// before what is in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nodes(BTreeMap<String, Node>);

impl Nodes {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str) {
        self.add(path, 0o755, Content::Directory);
    }

    /// Adds a link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, 0o777, Content::Link(target.to_owned()));
    }

    /// Adds a file that is not run.
    pub fn text(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.add(path, 0o644, Content::File(content.into()));
    }

    /// Adds a file that is run.
    pub fn script(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.add(path, 0o755, Content::File(content.into()));
    }

    fn add(&mut self, path: &str, mode: u32, content: Content) {
        self.0.insert(path.to_owned(), Node { mode, content });
    }

    /// What is at `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// The nodes as a layer of an image; all belong to root and are as old as `mtime` says.
    pub fn layer(&self, name: &str, mtime: i64) -> MemoryLayer {
        let mut layer = MemoryLayer::new(name);
        for (path, node) in &self.0 {
            let metadata = Metadata {
                permissions: node.mode,
                mtime,
                ..Metadata::default()
            };
            match &node.content {
                Content::Directory => layer.directory(path, metadata),
                Content::File(content) => layer.file(path, content.clone(), metadata),
                Content::Link(target) => layer.symlink(path, target, metadata),
            };
        }
        layer
    }

    /// Paths and nodes, a directory before what is in it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `others` over these.
    pub fn cover(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Takes out what has no name in `keep`; used to tell what is missing.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|path, _| keep(path));
    }
}
