//! Layers that are given as values: what skiff itself puts into an image.

use std::io::Read;

use super::entry::{Entry, EntryKind, Layer, LayerError, Visit};
use crate::pack::Metadata;

/// Entries in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryLayer {
    name: String,
    entries: Vec<(Entry, Vec<u8>)>,
}

impl MemoryLayer {
    /// A layer without entries.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            entries: Vec::new(),
        }
    }

    /// Adds an entry without content.
    pub fn add(&mut self, path: &str, kind: EntryKind, metadata: Metadata) -> &mut Self {
        self.push(path, kind, metadata, Vec::new())
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str, metadata: Metadata) -> &mut Self {
        self.push(path, EntryKind::Directory, metadata, Vec::new())
    }

    /// Adds a regular file with this content.
    pub fn file(
        &mut self,
        path: &str,
        content: impl Into<Vec<u8>>,
        metadata: Metadata,
    ) -> &mut Self {
        let content = content.into();
        let size = content.len() as u64;
        self.push(path, EntryKind::File { size }, metadata, content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str, metadata: Metadata) -> &mut Self {
        let target = target.as_bytes().to_vec();
        self.push(path, EntryKind::Symlink { target }, metadata, Vec::new())
    }

    fn push(
        &mut self,
        path: &str,
        kind: EntryKind,
        metadata: Metadata,
        content: Vec<u8>,
    ) -> &mut Self {
        let path = path.trim_matches('/').as_bytes().to_vec();
        let entry = Entry {
            path,
            kind,
            metadata,
        };
        self.entries.push((entry, content));
        self
    }
}

impl Layer for MemoryLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn visit(&mut self, visit: &mut Visit<'_>) -> Result<(), LayerError> {
        for (entry, content) in self.entries.drain(..) {
            let mut content: &[u8] = &content;
            visit(entry, &mut content as &mut dyn Read)?;
        }
        Ok(())
    }
}
