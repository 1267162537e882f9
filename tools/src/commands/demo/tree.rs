//! The tree to be packed, as a value: path → what lies there.
//!
//! Paths are relative to the image's root. Symbolic links on the way to a host file (such as
//! `/lib -> usr/lib`) become links of the image, so that the file is found under the same names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// What lies at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// Directory.
    Directory,
    /// Symbolic link.
    Link(PathBuf),
    /// Content of a file of the host.
    HostFile {
        /// Where it is read from.
        source: PathBuf,
        /// Length when it was found.
        len: u64,
        /// Permission bits.
        mode: u16,
        /// Modification time, Unix seconds: Python compares it with that of its byte code.
        mtime: u32,
    },
    /// Content made here.
    Text {
        /// The content.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u16,
    },
    /// Content made while packing, by [`super::data`].
    Generated {
        /// Which stream.
        seed: u64,
        /// How much of it.
        len: u64,
    },
}

impl Entry {
    /// Bytes of content.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Directory | Self::Link(_) => 0,
            Self::HostFile { len, .. } | Self::Generated { len, .. } => *len,
            Self::Text { bytes, .. } => bytes.len() as u64,
        }
    }
}

/// As many links as the kernel follows on one path.
const MAX_LINKS: usize = 40;

/// Everything that gets packed.
#[derive(Clone, Debug, Default)]
pub(super) struct PackTree(BTreeMap<PathBuf, Entry>);

impl PackTree {
    /// In an order in which parents come before their children.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// Bytes of content of all files.
    pub(super) fn total_len(&self) -> u64 {
        self.0.values().map(Entry::len).sum()
    }

    /// Puts `entry` at `path`, whose parents become directories. What is there already stays.
    pub(super) fn add(&mut self, path: impl AsRef<Path>, entry: Entry) {
        let path = relative(path.as_ref());
        if path.as_os_str().is_empty() {
            return;
        }
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for parent in parents
            .into_iter()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.0.entry(parent).or_insert(Entry::Directory);
        }
        self.0.entry(path).or_insert(entry);
    }

    /// Adds the host's file `path` under its own name, with the links that lead to it.
    ///
    /// # Errors
    /// When it is not there, or no regular file in the end.
    pub(super) fn add_host(&mut self, path: &Path) -> io::Result<()> {
        let mut pending: Vec<PathBuf> = components(path);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == Path::new("..") {
                real.pop();
                continue;
            }
            let here = real.join(&part);
            if here.symlink_metadata()?.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!(
                        "too many links to {}",
                        path.display()
                    )));
                }
                let target = fs::read_link(&here)?;
                self.add(&here, Entry::Link(target.clone()));
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                pending.extend(components(&target));
            } else {
                real = here;
            }
        }
        self.add_content(&real, &real)
    }

    /// Adds the content of the host's file `source` at `path`.
    ///
    /// # Errors
    /// When it is no regular file that can be read.
    pub(super) fn add_content(&mut self, path: &Path, source: &Path) -> io::Result<()> {
        let metadata = fs::metadata(source)?;
        if !metadata.is_file() {
            return Err(io::Error::other(format!(
                "{} is no regular file",
                source.display()
            )));
        }
        let modified = metadata
            .modified()?
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let entry = Entry::HostFile {
            source: source.to_owned(),
            len: metadata.len(),
            // No set-id bits: they have no meaning in a container of an ordinary user.
            mode: (metadata.permissions().mode() & 0o755) as u16 | 0o444,
            mtime: u32::try_from(modified.as_secs()).unwrap_or(u32::MAX),
        };
        self.add(path, entry);
        Ok(())
    }
}

fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// Parts of a path, last one first; `..` is kept.
fn components(path: &Path) -> Vec<PathBuf> {
    let parts = path
        .components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| PathBuf::from(part.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_on_the_way_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::write(root.join("usr/lib/x.so.1.2"), b"x").unwrap();
        std::os::unix::fs::symlink("x.so.1.2", root.join("usr/lib/x.so.1")).unwrap();
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
        let mut tree = PackTree::default();
        tree.add_host(&root.join("lib/x.so.1")).unwrap();
        let at = |path: &str| tree.0.get(&relative(&root.join(path))).cloned();
        assert_eq!(at("lib"), Some(Entry::Link("usr/lib".into())));
        assert_eq!(at("usr/lib/x.so.1"), Some(Entry::Link("x.so.1.2".into())));
        assert!(matches!(
            at("usr/lib/x.so.1.2"),
            Some(Entry::HostFile { len: 1, .. })
        ));
        assert_eq!(at("usr"), Some(Entry::Directory));
        assert_eq!(tree.total_len(), 1);
    }

    #[test]
    fn loops_end() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
        assert!(PackTree::default().add_host(&dir.path().join("a")).is_err());
    }
}
