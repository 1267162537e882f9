//! Looking up files of an image, wherever its tree is.

use std::ops::ControlFlow;

use anyhow::Context as _;
use skiff_fs::tree::{FileKind, NodeRef, Tree, path};

/// Largest metadata file that is read: scripts and labels are small, and an image may claim any
/// size.
pub const MAX_FILE_BYTES: usize = 16 << 20;

/// Files of an image by absolute path. Symbolic links are followed and cannot leave the image.
pub trait Files {
    /// Content of the regular file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// What keeps an existing file from being read.
    fn read(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>>;

    /// Sorted names in the directory at `path`; none when there is no such directory.
    ///
    /// # Errors
    /// What keeps an existing directory from being read.
    fn names(&self, path: &str) -> anyhow::Result<Vec<String>>;

    /// Whether there is a directory at `path`.
    fn is_directory(&self, path: &str) -> bool;
}

/// The files of a [`Tree`].
#[derive(Clone, Copy, Debug)]
pub struct TreeFiles<'a>(pub &'a dyn Tree);

impl TreeFiles<'_> {
    fn find(&self, path: &str, kind: FileKind) -> anyhow::Result<Option<NodeRef>> {
        let found = path::resolve(self.0, path.as_bytes(), true)
            .with_context(|| format!("looking for {path} in the image"))?;
        match found {
            Some(node) if self.0.attr(node)?.kind == kind => Ok(Some(node)),
            _ => Ok(None),
        }
    }
}

impl Files for TreeFiles<'_> {
    fn read(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        path::read_file(self.0, path.as_bytes(), MAX_FILE_BYTES)
            .with_context(|| format!("reading {path} of the image"))
    }

    fn names(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let Some(node) = self.find(path, FileKind::Directory)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        self.0.read_dir(node, 0, &mut |entry| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            ControlFlow::Continue(())
        })?;
        names.sort();
        Ok(names)
    }

    fn is_directory(&self, path: &str) -> bool {
        matches!(self.find(path, FileKind::Directory), Ok(Some(_)))
    }
}
