//! Files as they will be once nodes have been put over them.

use super::nodes::{Content, Nodes};
use crate::metadata::files::Files;

/// No files.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn names(&self, _: &str) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn is_directory(&self, _: &str) -> bool {
        false
    }
}

/// Nodes over files over nodes. Links among the nodes are not followed: nobody reads through them.
#[derive(Clone, Copy)]
pub struct Overlaid<'a> {
    /// Count for more.
    pub top: &'a Nodes,
    /// What is there.
    pub files: &'a dyn Files,
    /// Count where nothing is there.
    pub bottom: &'a Nodes,
}

impl std::fmt::Debug for Overlaid<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Overlaid")
            .field("top", self.top)
            .field("bottom", self.bottom)
            .finish_non_exhaustive()
    }
}

impl Files for Overlaid<'_> {
    fn read(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(content) = content(self.top, path) {
            return Ok(Some(content));
        }
        if let Some(content) = self.files.read(path)? {
            return Ok(Some(content));
        }
        Ok(content(self.bottom, path))
    }

    fn names(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let mut names = self.files.names(path)?;
        for nodes in [self.top, self.bottom] {
            names.extend(names_in(nodes, path));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn is_directory(&self, path: &str) -> bool {
        let is_directory = |nodes: &Nodes| {
            let node = nodes.get(path.trim_start_matches('/'));
            node.is_some_and(|node| node.content == Content::Directory)
        };
        is_directory(self.top) || self.files.is_directory(path) || is_directory(self.bottom)
    }
}

fn content(nodes: &Nodes, path: &str) -> Option<Vec<u8>> {
    match &nodes.get(path.trim_start_matches('/'))?.content {
        Content::File(content) => Some(content.clone()),
        Content::Directory | Content::Link(_) => None,
    }
}

fn names_in<'a>(nodes: &'a Nodes, path: &str) -> impl Iterator<Item = String> + use<'a> {
    let prefix = format!("{}/", path.trim_matches('/'));
    nodes.iter().filter_map(move |(path, _)| {
        let rest = path.strip_prefix(&prefix)?;
        (!rest.contains('/')).then(|| rest.to_owned())
    })
}
