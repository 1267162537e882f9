//! Places that a container needs and its image lacks.
//!
//! A [`View`] is the image's tree plus empty directories and files at bind points, so that a
//! read-only container needs neither overlayfs nor a skeleton of bind mounts. It is a function of
//! (tree, list of points) alone: a new server given the same list builds the same view with the
//! same numbers.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::tree::{FileKind, NodeRef, Tree, TreeError};

/// Symbolic links followed while one path is resolved; the kernel's own limit (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// Longest path that is looked at, as for the kernel (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;

/// A place wanted in the tree.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Point {
    /// Absolute path.
    pub path: PathBuf,
    /// Create a directory there; else an empty file.
    pub directory: bool,
    /// Create nothing when a component that exists is not a real directory.
    pub only_through_directories: bool,
}

/// A node that exists only in the view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Extra {
    /// Names below it, in order of creation; empty for files.
    pub(crate) children: Vec<(Vec<u8>, ExtraIndex)>,
    /// Whether it is a directory.
    pub(crate) directory: bool,
}

/// Number of an [`Extra`] within its view.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ExtraIndex(pub(crate) u32);

/// Where a walk stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In the image.
    Image(NodeRef),
    /// In the view only.
    Extra(ExtraIndex),
}

/// Extra nodes of one view over a tree.
#[derive(Debug, Default)]
pub struct View {
    extras: Vec<Extra>,
    /// Extra names in directories of the image.
    in_image: HashMap<NodeRef, Vec<(Vec<u8>, ExtraIndex)>>,
}

impl View {
    /// Builds the view of `tree` in which each of `points` exists that can. A point that cannot
    /// (a file stands where a directory is needed, a loop of links) is left out: whoever binds
    /// onto it meets the error that fits.
    ///
    /// # Errors
    /// Only when the image cannot be read.
    pub fn build(tree: &dyn Tree, points: &[Point]) -> Result<Self, TreeError> {
        let mut view = Self::default();
        for point in points {
            view.add(tree, point)?;
        }
        Ok(view)
    }

    /// How many nodes the view adds.
    pub fn extra_count(&self) -> usize {
        self.extras.len()
    }

    pub(crate) fn extra(&self, index: ExtraIndex) -> Option<&Extra> {
        self.extras.get(index.0 as usize)
    }

    /// Extra names of an image directory.
    pub(crate) fn names_in(&self, dir: NodeRef) -> &[(Vec<u8>, ExtraIndex)] {
        self.in_image.get(&dir).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, tree: &dyn Tree, point: &Point) -> Result<(), TreeError> {
        let mut pending: Vec<Vec<u8>> = components(&point.path);
        pending.reverse();
        let mut trail = vec![Place::Image(tree.root())];
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let here = *trail.last().expect("the root is never popped");
            match self.child(tree, here, &name)? {
                Some(Place::Image(node)) => {
                    let kind = tree.attr(node)?.kind;
                    match kind {
                        FileKind::Symlink => {
                            links += 1;
                            if point.only_through_directories || links > MAX_SYMLINKS {
                                return Ok(());
                            }
                            let target = tree.read_link(node)?;
                            if target.len() > MAX_PATH_BYTES {
                                return Ok(());
                            }
                            let target = Path::new(OsStr::from_bytes(&target));
                            if target.is_absolute() {
                                trail.truncate(1);
                            }
                            pending.extend(components(target).into_iter().rev());
                        }
                        FileKind::Directory => trail.push(Place::Image(node)),
                        _ => return Ok(()),
                    }
                }
                Some(place @ Place::Extra(index)) => {
                    let is_directory = self.extra(index).is_some_and(|extra| extra.directory);
                    if !is_directory {
                        return Ok(());
                    }
                    trail.push(place);
                }
                None => {
                    let directory = point.directory || !pending.is_empty();
                    let index = self.create(here, name, directory);
                    trail.push(Place::Extra(index));
                }
            }
        }
        Ok(())
    }

    /// The node called `name` in `dir`.
    pub(crate) fn child(
        &self,
        tree: &dyn Tree,
        dir: Place,
        name: &[u8],
    ) -> Result<Option<Place>, TreeError> {
        let extras = match dir {
            Place::Image(node) => self.names_in(node),
            Place::Extra(index) => match self.extra(index) {
                Some(extra) => &extra.children,
                None => return Ok(None),
            },
        };
        if let Some((_, index)) = extras.iter().find(|(known, _)| known == name) {
            return Ok(Some(Place::Extra(*index)));
        }
        match dir {
            Place::Image(node) => Ok(tree.lookup(node, name)?.map(Place::Image)),
            Place::Extra(_) => Ok(None),
        }
    }

    fn create(&mut self, dir: Place, name: Vec<u8>, directory: bool) -> ExtraIndex {
        let index = ExtraIndex(u32::try_from(self.extras.len()).unwrap_or(u32::MAX));
        self.extras.push(Extra {
            children: Vec::new(),
            directory,
        });
        let siblings = match dir {
            Place::Image(node) => self.in_image.entry(node).or_default(),
            Place::Extra(parent) => &mut self.extras[parent.0 as usize].children,
        };
        siblings.push((name, index));
        index
    }
}

/// Names of a path in order; `.` dropped, `..` kept.
fn components(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.as_bytes().to_vec()),
            Component::ParentDir => Some(b"..".to_vec()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
