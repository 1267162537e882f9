//! One layer over the tree that those below amount to.

use std::collections::{HashMap, HashSet};

use super::options::MergeOptions;
use super::records::{HIDDEN, Record, Records, Said, wrong};
use super::resolve::{Place, resolve};
use crate::layers::entry::LayerError;
use crate::pack::{Content, Inode, InodeId, InodeTree, Metadata};

/// The tree so far.
pub(super) struct Applied<'a> {
    tree: InodeTree,
    options: &'a MergeOptions,
    /// Where the directory of the last path lies, until something changes that paths go through.
    last: Option<(Box<[u8]>, Place)>,
    touched: Touched,
}

/// What the layer that is being applied has itself put there: its whiteouts spare that. Kept only for
/// layers that have whiteouts.
#[derive(Default)]
struct Touched {
    wanted: bool,
    names: HashMap<InodeId, HashSet<Box<[u8]>>>,
    /// Directories whose own names have been noted.
    directories: HashSet<InodeId>,
}

/// The layer and the entry at hand, for messages.
struct At<'a> {
    layer: &'a str,
    path: &'a [u8],
}

impl At<'_> {
    fn wrong(&self, reason: impl Into<String>) -> LayerError {
        wrong(self.layer, self.path, reason)
    }
}

impl<'a> Applied<'a> {
    pub(super) fn new(options: &'a MergeOptions) -> Self {
        Self {
            tree: InodeTree::new(implied(options)),
            options,
            last: None,
            touched: Touched::default(),
        }
    }

    /// The tree, and how many of its directories are closed to their owner.
    pub(super) fn finish(self) -> Result<(InodeTree, u64), LayerError> {
        let mut closed = 0;
        let mut rest = vec![InodeId::ROOT];
        while let Some(id) = rest.pop() {
            let Some(names) = self.tree.names(id) else {
                continue;
            };
            closed += u64::from(self.tree.get(id).metadata.permissions & 0o700 != 0o700);
            for (name, &id) in names {
                match self.tree.get(id).content {
                    Content::Directory(_) => rest.push(id),
                    // Rather no image than one with a wrong file.
                    Content::File(HIDDEN, _) => {
                        let reason = "its content was taken for hidden, which is a fault of skiff";
                        return Err(wrong("the image", name, reason));
                    }
                    _ => {}
                }
            }
        }
        Ok((self.tree, closed))
    }

    /// Applies all entries of a layer.
    pub(super) fn layer(&mut self, records: Records) -> Result<(), LayerError> {
        self.touched = Touched {
            wanted: records.hides(),
            ..Touched::default()
        };
        let (layer, records) = records.into_parts();
        for record in records {
            self.record(&layer, record)?;
        }
        Ok(())
    }

    fn record(&mut self, layer: &str, record: Record) -> Result<(), LayerError> {
        let Record {
            path,
            said,
            metadata,
        } = record;
        let at = At { layer, path: &path };
        if said == Said::Opaque {
            let place = resolve(&self.tree, &path).ok_or_else(|| at.wrong(LOOP))?;
            if let Some(directory) = place.directory() {
                self.clear(directory);
                self.last = None;
            }
            return Ok(());
        }
        let Some((parent, name)) = split(&path) else {
            return match said {
                Said::Directory => {
                    self.tree.get_mut(InodeId::ROOT).metadata = metadata;
                    Ok(())
                }
                _ => Err(at.wrong("the root can be nothing but a directory")),
            };
        };
        let place = self.place(&at, parent)?;
        if said == Said::Whiteout {
            if let Some(directory) = place.directory() {
                self.hide(directory, name);
                self.last = None;
            }
            return Ok(());
        }
        let place = self.make(&at, place)?;
        self.put(&at, &place, name, said, metadata)?;
        self.touched.add(&self.tree, &place, name);
        Ok(())
    }

    /// Where `parent` leads.
    fn place(&mut self, at: &At<'_>, parent: &[u8]) -> Result<Place, LayerError> {
        if let Some((path, place)) = &self.last
            && **path == *parent
        {
            return Ok(place.clone());
        }
        let place = resolve(&self.tree, parent).ok_or_else(|| at.wrong(LOOP))?;
        self.last = Some((parent.into(), place.clone()));
        Ok(place)
    }

    /// Makes directories of the names that are missing.
    fn make(&mut self, at: &At<'_>, mut place: Place) -> Result<Place, LayerError> {
        if place.missing.is_empty() {
            return Ok(place);
        }
        self.last = None;
        for name in std::mem::take(&mut place.missing) {
            let parent = place.directories.last().copied().unwrap_or(InodeId::ROOT);
            let id = self.add(
                at,
                Inode {
                    metadata: implied(self.options),
                    content: Content::Directory(std::collections::BTreeMap::new()),
                },
            )?;
            let names = self
                .tree
                .names_mut(parent)
                .ok_or_else(|| at.wrong(NO_DIRECTORY))?;
            if names.contains_key(&name) {
                return Err(at.wrong(NO_DIRECTORY));
            }
            names.insert(name, id);
            place.directories.push(id);
        }
        Ok(place)
    }

    /// Puts what is said under `name` in the directory of `place`.
    fn put(
        &mut self,
        at: &At<'_>,
        place: &Place,
        name: &[u8],
        said: Said,
        metadata: Metadata,
    ) -> Result<(), LayerError> {
        let parent = place.directories.last().copied().unwrap_or(InodeId::ROOT);
        let old = self
            .tree
            .names(parent)
            .and_then(|names| names.get(name).copied());
        let old_is_directory = old.is_some_and(|id| self.tree.names(id).is_some());
        if said == Said::Directory
            && let Some(id) = old.filter(|_| old_is_directory)
        {
            self.tree.get_mut(id).metadata = metadata;
            return Ok(());
        }
        // Whatever paths lead through may be another thing now.
        let old_is_link =
            old.is_some_and(|id| matches!(self.tree.get(id).content, Content::Symlink(_)));
        if old_is_directory
            || old_is_link
            || matches!(said, Said::Symlink(_) | Said::HardLink(_) | Said::Directory)
        {
            self.last = None;
        }
        if old.is_some() {
            self.remove(parent, name);
        }
        let id = match said {
            Said::HardLink(target) => self.linked(at, &target)?,
            said => {
                let content = content(said).ok_or_else(|| at.wrong(NO_DIRECTORY))?;
                self.add(at, Inode { metadata, content })?
            }
        };
        if let Some(names) = self.tree.names_mut(parent) {
            names.insert(name.into(), id);
        }
        Ok(())
    }

    /// The file that a hard link is another name of.
    fn linked(&self, at: &At<'_>, target: &[u8]) -> Result<InodeId, LayerError> {
        let shown = crate::layers::tar::shown(target);
        let (parent, name) =
            split(target).ok_or_else(|| at.wrong("a hard link to the root directory"))?;
        let place = resolve(&self.tree, parent).ok_or_else(|| at.wrong(LOOP))?;
        let id = place
            .directory()
            .and_then(|directory| self.tree.names(directory))
            .and_then(|names| names.get(name).copied())
            .ok_or_else(|| at.wrong(format!("a hard link to {shown}, which is not there")))?;
        if self.tree.names(id).is_some() {
            return Err(at.wrong(format!("a hard link to {shown}, which is a directory")));
        }
        Ok(id)
    }

    fn add(&mut self, at: &At<'_>, inode: Inode) -> Result<InodeId, LayerError> {
        self.tree
            .add(inode)
            .ok_or_else(|| at.wrong("the image has too many files"))
    }

    /// Takes a name away. What lay below it goes as well: its memory is freed at once.
    fn remove(&mut self, directory: InodeId, name: &[u8]) {
        let removed = self
            .tree
            .names_mut(directory)
            .and_then(|names| names.remove(name));
        let mut rest: Vec<InodeId> = removed.into_iter().collect();
        while let Some(id) = rest.pop() {
            if let Some(names) = self.tree.names_mut(id) {
                rest.extend(std::mem::take(names).into_values());
                self.touched.names.remove(&id);
            }
        }
    }

    /// A whiteout: removes what lower layers have at a name.
    fn hide(&mut self, directory: InodeId, name: &[u8]) {
        if !self.touched.has(directory, name) {
            self.remove(directory, name);
            return;
        }
        let id = self.tree.names(directory).and_then(|names| names.get(name));
        if let Some(&id) = id {
            self.clear(id);
        }
    }

    /// Removes what lower layers have below a directory.
    fn clear(&mut self, directory: InodeId) {
        let mut rest = vec![directory];
        while let Some(directory) = rest.pop() {
            let Some(names) = self.tree.names(directory) else {
                continue;
            };
            let mut gone = Vec::new();
            for (name, &id) in names {
                if !self.touched.has(directory, name) {
                    gone.push(name.clone());
                } else if self.tree.names(id).is_some() {
                    rest.push(id);
                }
            }
            for name in gone {
                self.remove(directory, &name);
            }
        }
    }
}

impl Touched {
    /// Notes a name and the directories that lead to it.
    fn add(&mut self, tree: &InodeTree, place: &Place, name: &[u8]) {
        if !self.wanted {
            return;
        }
        let last = place.directories.last().copied().unwrap_or(InodeId::ROOT);
        self.names.entry(last).or_default().insert(name.into());
        for pair in place.directories.windows(2).rev() {
            let (parent, child) = (pair[0], pair[1]);
            if !self.directories.insert(child) {
                break;
            }
            let name = tree
                .names(parent)
                .into_iter()
                .flatten()
                .find(|(_, id)| **id == child);
            if let Some((name, _)) = name {
                self.names.entry(parent).or_default().insert(name.clone());
            }
        }
    }

    fn has(&self, directory: InodeId, name: &[u8]) -> bool {
        self.names
            .get(&directory)
            .is_some_and(|names| names.contains(name))
    }
}

const LOOP: &str = "its path goes round in symbolic links";
const NO_DIRECTORY: &str = "something that is no directory lies in its path";

/// Directories that no layer tells of.
fn implied(options: &MergeOptions) -> Metadata {
    Metadata {
        permissions: 0o755,
        mtime: options.mtime,
        ..Metadata::default()
    }
}

/// Directory and name of a path; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    })
}

fn content(said: Said) -> Option<Content> {
    Some(match said {
        Said::File(data, size) => Content::File(data, size),
        Said::Directory => Content::Directory(std::collections::BTreeMap::new()),
        Said::Symlink(target) => Content::Symlink(target),
        Said::CharDevice(number) => Content::CharDevice(number),
        Said::BlockDevice(number) => Content::BlockDevice(number),
        Said::Fifo => Content::Fifo,
        Said::Socket => Content::Socket,
        Said::HardLink(_) | Said::Whiteout | Said::Opaque => return None,
    })
}
