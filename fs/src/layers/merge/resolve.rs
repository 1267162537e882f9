//! Where a path leads, inside the root.

use crate::pack::{Content, InodeId, InodeTree};

/// As many links as Linux follows, times a few: chains of images are never that long.
const LINKS_MOST: u32 = 255;

/// Directories from the root to where a path leads, and the names that are not there yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Never empty; the root is the first.
    pub(super) directories: Vec<InodeId>,
    /// Components below the last directory that do not exist, or of which the first is no directory.
    pub(super) missing: Vec<Box<[u8]>>,
}

impl Place {
    pub(super) fn root() -> Self {
        Self {
            directories: vec![InodeId::ROOT],
            missing: Vec::new(),
        }
    }

    /// The directory that the path leads to, if all of it exists.
    pub(super) fn directory(&self) -> Option<InodeId> {
        self.missing
            .is_empty()
            .then(|| self.directories.last().copied())?
    }
}

/// Follows the links of `path` as if the tree were a file system of its own: its root has no parent,
/// and absolute targets begin there. Names that are missing are passed. `None`: a loop of links.
pub(super) fn resolve(tree: &InodeTree, path: &[u8]) -> Option<Place> {
    let mut place = Place::root();
    // Components still to go, the next one last.
    let mut rest: Vec<Box<[u8]>> = components(path);
    let mut links = 0_u32;
    while let Some(name) = rest.pop() {
        match &*name {
            b"" | b"." => continue,
            b".." => {
                if place.missing.pop().is_none() && place.directories.len() > 1 {
                    place.directories.pop();
                }
                continue;
            }
            _ => {}
        }
        let last = *place.directories.last()?;
        let found = if place.missing.is_empty() {
            tree.names(last)?.get(&name).copied()
        } else {
            None
        };
        match found.map(|id| (id, &tree.get(id).content)) {
            Some((id, Content::Directory(_))) => place.directories.push(id),
            Some((_, Content::Symlink(target))) => {
                links += 1;
                if links > LINKS_MOST {
                    return None;
                }
                if target.starts_with(b"/") {
                    place = Place::root();
                }
                rest.extend(components(target));
            }
            // Something else in the way is a failure only for who wants to make what lies below.
            Some(_) | None => place.missing.push(name),
        }
    }
    Some(place)
}

fn components(path: &[u8]) -> Vec<Box<[u8]>> {
    path.split(|&byte| byte == b'/')
        .rev()
        .map(Into::into)
        .collect()
}
