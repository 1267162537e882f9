//! Which files of an image are read, written down in the order of the first reads.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::tree::{FileKind, NodeRef, Tree, TreeError};

/// No tree is deeper than paths are long; a damaged one may be.
const MAX_DEPTH: usize = 2048;

/// A list of files that grows by a line (a path from the image's root) whenever one is read that was
/// not read before.
#[derive(Debug)]
pub struct AccessLog {
    /// Files that were not read yet. Of several names of a file one is kept.
    paths: Mutex<HashMap<NodeRef, Box<[u8]>>>,
    file: File,
}

impl AccessLog {
    /// Looks through all directories of `tree`; lines go to `file`, which is open for appending.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn new(tree: &dyn Tree, file: File) -> Result<Self, TreeError> {
        let mut paths = HashMap::new();
        let mut todo = vec![(tree.root(), Vec::new(), 0)];
        while let Some((directory, path, depth)) = todo.pop() {
            if depth > MAX_DEPTH {
                continue;
            }
            tree.read_dir(directory, 0, &mut |entry| {
                let path = [path.as_slice(), b"/", entry.name].concat();
                match entry.kind {
                    FileKind::Directory => todo.push((entry.node, path, depth + 1)),
                    // A line cannot name it.
                    FileKind::Regular if !path.contains(&b'\n') => {
                        paths.entry(entry.node).or_insert(path.into());
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(Self {
            paths: Mutex::new(paths),
            file,
        })
    }

    /// Notes that content of `node` was read.
    pub(super) fn was_read(&self, node: NodeRef) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = paths.remove(&node) {
            let line = [&path, &b"\n"[..]].concat();
            // The reader is worth more than the list of what it read.
            let _not_listed = (&self.file).write_all(&line);
        }
    }
}
