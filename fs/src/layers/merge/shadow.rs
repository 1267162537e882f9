//! Which files of a layer nobody will see, known when the layers above it have been read.
//!
//! A file is in the shadow only if nothing else is possible: every directory on its way is one that
//! its own layer has, so that no link can have led it elsewhere, and a layer above has something at its
//! path, or says at a directory on its way that nothing below is left there. As long as that file
//! exists, its way consists of directories, and what layers above say about the way is said about it.

use std::collections::{HashMap, HashSet};

use super::records::Said;

/// What layers above say about a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    /// Something is there, or a whiteout.
    itself: bool,
    /// What lower layers have below it is hidden.
    below: bool,
}

/// What has been said so far.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    above: HashMap<Box<[u8]>, Mark>,
    /// Last parts of paths in lower layers that hard links name: those must be kept.
    wanted: HashSet<Box<[u8]>>,
    /// Of the layer at hand: its directories, as far as these are certain.
    directories: HashSet<Box<[u8]>>,
    /// Its files, for hard links within the layer.
    files: HashSet<Box<[u8]>>,
    /// Marks for the layers below.
    next: Vec<(Box<[u8]>, Mark)>,
    /// Whether a path of it has gone through something that it does not have as a directory.
    is_certain: bool,
    is_lowest: bool,
}

impl Shadow {
    /// Begins a layer.
    pub(super) fn layer(&mut self, is_lowest: bool) {
        for (path, mark) in self.next.drain(..) {
            let known = self.above.entry(path).or_insert(mark);
            known.itself |= mark.itself;
            known.below |= mark.below;
        }
        self.directories.clear();
        self.files.clear();
        self.is_certain = true;
        self.is_lowest = is_lowest;
    }

    /// Whether a file that the layer has at `path` will be seen by nobody, nor be wanted by a hard
    /// link of a layer above. To be asked before [`Shadow::note`] is told of it.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        if self.above.is_empty() || !self.is_certain || self.wanted.contains(last(path)) {
            return false;
        }
        let mut hidden = self.above.get(path).is_some_and(|mark| mark.itself)
            || self.above.get(&b""[..]).is_some_and(|mark| mark.below);
        for parent in parents(path) {
            if !self.directories.contains(parent) && !self.is_implied(parent) {
                return false;
            }
            hidden |= self.above.get(parent).is_some_and(|mark| mark.below);
        }
        hidden
    }

    /// In the lowest layer, what was not told of can be nothing but a directory that it implies.
    fn is_implied(&self, directory: &[u8]) -> bool {
        self.is_lowest && !self.files.contains(directory)
    }

    /// Notes an entry.
    pub(super) fn note(&mut self, path: &[u8], said: &Said) {
        let mut certain = true;
        for parent in parents(path) {
            certain &= self.directories.contains(parent) || self.is_implied(parent);
        }
        let (itself, below) = match said {
            Said::Directory => (true, false),
            Said::Opaque => (false, true),
            _ => (true, true),
        };
        match said {
            Said::Directory => {
                self.files.remove(path);
                self.directories.insert(path.into());
            }
            Said::Whiteout | Said::Opaque => {}
            _ => {
                self.directories.remove(path);
                self.files.insert(path.into());
            }
        }
        if let Said::HardLink(target) = said
            && !(self.is_certain && self.files.contains(target))
        {
            self.wanted.insert(last(target).into());
        }
        // Whiteouts make nothing, wherever they lead.
        if !certain && !matches!(said, Said::Whiteout | Said::Opaque) {
            self.is_certain = false;
        }
        if !self.is_lowest {
            self.next.push((path.into(), Mark { itself, below }));
        }
    }
}

/// The directories on the way to `path`, without the root, the uppermost first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(place, _)| &path[..place])
}

/// The last part of a path.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}
