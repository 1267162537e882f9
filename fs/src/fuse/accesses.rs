//! Which files of an image are read, written down in the order of the first reads.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::tree::{FileKind, NodeRef, Tree};

/// A list of files that grows by a line (a path from the image's root) whenever one is read that was
/// not read before.
#[derive(Debug)]
pub struct AccessLog {
    /// Lines of files that were not read yet: all names of a file.
    lines: Mutex<HashMap<NodeRef, Vec<u8>>>,
    file: File,
}

impl AccessLog {
    /// Looks through all directories of `tree`; lines go to `file`, which is open for appending.
    /// What cannot be listed is left out.
    pub fn new(tree: &dyn Tree, file: File) -> Self {
        let mut lines: HashMap<NodeRef, Vec<u8>> = HashMap::new();
        let mut todo = vec![(tree.root(), Vec::new())];
        // In a damaged image directories may contain each other.
        let mut known = HashSet::from([tree.root()]);
        while let Some((directory, path)) = todo.pop() {
            let listed = tree.read_dir(directory, 0, &mut |entry| {
                let path = [path.as_slice(), b"/", entry.name].concat();
                match entry.kind {
                    FileKind::Directory if known.insert(entry.node) => {
                        todo.push((entry.node, path));
                    }
                    // A line cannot name it.
                    FileKind::Regular if !path.contains(&b'\n') => {
                        let lines = lines.entry(entry.node).or_default();
                        lines.extend_from_slice(&path);
                        lines.push(b'\n');
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            // Whoever reads there meets the same error.
            listed.unwrap_or_default();
        }
        Self {
            lines: Mutex::new(lines),
            file,
        }
    }

    /// Notes that content of `node` was read.
    pub(super) fn was_read(&self, node: NodeRef) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = lines.remove(&node) {
            // The reader is worth more than the list of what it read.
            let _not_listed = (&self.file).write_all(&lines);
        }
    }
}
