//! Which files of a tree patterns and paths mean.

use std::collections::HashSet;
use std::ops::ControlFlow;

use skiff_fs::tree::path::{PathError, resolve};
use skiff_fs::tree::{FileKind, NodeRef, Tree, TreeError};

use super::glob::{Glob, Progress};

/// No tree is deeper than paths are long; a damaged one may be.
const MAX_DEPTH: usize = 2048;

/// Regular files, each once, in the order of being found.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: HashSet<NodeRef>,
    fresh: Vec<NodeRef>,
}

impl Files {
    /// Adds a file.
    pub(super) fn add(&mut self, node: NodeRef) {
        if self.known.insert(node) {
            self.fresh.push(node);
        }
    }

    /// The files added since the last call.
    pub(super) fn take(&mut self) -> Vec<NodeRef> {
        std::mem::take(&mut self.fresh)
    }
}

/// Adds what matches `glob`: regular files, what links that match point to, and everything below
/// directories that match. Returns whether anything did.
///
/// # Errors
/// When a directory cannot be read.
pub(super) fn by_glob(tree: &dyn Tree, glob: &Glob, files: &mut Files) -> Result<bool, TreeError> {
    let mut walk = Walk {
        tree,
        glob,
        files,
        any: false,
    };
    let root = Place {
        node: tree.root(),
        path: Vec::new(),
        depth: 0,
        at: Some(glob.start()),
    };
    let mut todo = vec![root];
    while let Some(place) = todo.pop() {
        walk.directory(&place, &mut todo)?;
    }
    Ok(walk.any)
}

/// A directory to be looked into.
struct Place {
    node: NodeRef,
    path: Vec<u8>,
    depth: usize,
    /// How far along the pattern it is; `None` when everything below is meant.
    at: Option<Progress>,
}

struct Walk<'a> {
    tree: &'a dyn Tree,
    glob: &'a Glob,
    files: &'a mut Files,
    any: bool,
}

impl Walk<'_> {
    fn directory(&mut self, place: &Place, todo: &mut Vec<Place>) -> Result<(), TreeError> {
        if place.depth > MAX_DEPTH {
            return Ok(());
        }
        let mut entries = Vec::new();
        self.tree.read_dir(place.node, 0, &mut |entry| {
            let at = place.at.as_ref().map(|at| self.glob.step(at, entry.name));
            let wanted = at
                .as_ref()
                .is_none_or(|at| self.glob.is_match(at) || self.glob.goes_on(at));
            if wanted {
                entries.push((entry.name.to_vec(), entry.node, entry.kind, at));
            }
            ControlFlow::Continue(())
        })?;
        for (name, mut node, mut kind, mut at) in entries {
            let path = [place.path.as_slice(), b"/", &name].concat();
            if kind == FileKind::Symlink {
                // What links point to that lie somewhere below is not meant.
                let Some(progress) = &at else { continue };
                let Some(target) = self.target(&path)? else {
                    continue;
                };
                (node, kind) = target;
                if kind == FileKind::Directory {
                    at = Some(self.glob.through_link(progress));
                }
            }
            let is_match = at.as_ref().is_none_or(|at| self.glob.is_match(at));
            match kind {
                FileKind::Directory
                    if !is_match && !at.as_ref().is_some_and(|at| self.glob.goes_on(at)) => {}
                FileKind::Regular if is_match => {
                    self.any = true;
                    self.files.add(node);
                }
                FileKind::Directory => {
                    self.any |= is_match;
                    let below = Place {
                        node,
                        path,
                        depth: place.depth + 1,
                        at: at.filter(|_| !is_match),
                    };
                    todo.push(below);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the link at `path` points to.
    fn target(&self, path: &[u8]) -> Result<Option<(NodeRef, FileKind)>, TreeError> {
        match resolve(self.tree, path, true) {
            Ok(Some(node)) => Ok(Some((node, self.tree.attr(node)?.kind))),
            Ok(None) | Err(PathError::TooManyLinks | PathError::TooLong { .. }) => Ok(None),
            Err(PathError::Tree(error)) => Err(error),
        }
    }
}

/// Adds the file at `path`, links followed; a directory stands for everything below it. Returns
/// whether there is anything.
///
/// # Errors
/// When the tree cannot be read.
pub(super) fn by_path(tree: &dyn Tree, path: &[u8], files: &mut Files) -> Result<bool, TreeError> {
    let node = match resolve(tree, path, true) {
        Ok(Some(node)) => node,
        Ok(None) | Err(PathError::TooManyLinks | PathError::TooLong { .. }) => return Ok(false),
        Err(PathError::Tree(error)) => return Err(error),
    };
    match tree.attr(node)?.kind {
        FileKind::Regular => files.add(node),
        FileKind::Directory => {
            let mut walk = Walk {
                tree,
                // Not asked where everything is meant.
                glob: &Glob::default(),
                files,
                any: false,
            };
            let mut todo = vec![Place {
                node,
                path: Vec::new(),
                depth: 0,
                at: None,
            }];
            while let Some(place) = todo.pop() {
                walk.directory(&place, &mut todo)?;
            }
        }
        _ => {}
    }
    Ok(true)
}
