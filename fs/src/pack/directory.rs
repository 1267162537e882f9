//! A directory as the place that a tree is written to: a sandbox.
//!
//! ```text
//! PARENT/.skiff-build-RANDOM/     private, locked while it is in use
//!   content/0/0, 1/1, … 0/4 …     as it comes
//!   root/                         built at the end, then renamed to PARENT/TARGET
//! ```
//! The target is there whole or not at all, and an old one stays until then. What a run that was
//! killed has left is removed by the next one that writes to the same parent.

mod attributes;
mod content;
mod place;
mod remove;
mod staging;
#[cfg(test)]
mod tests;
mod writers;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::inodes::InodeTree;
use super::sink::{FileData, Sink, SinkError};
use staging::{Staging, new_content};
use writers::{SMALL, Writers};

/// Told of what the file system cannot have, once for each kind of thing.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// How a directory is written.
#[derive(Clone, Default)]
pub struct DirectoryOptions {
    /// Whether files get the owners that the tree says; else they are the caller's.
    pub owners: bool,
    /// Whether what is at the target is replaced.
    pub replace: bool,
    /// Told of what is lost.
    pub warn: Option<Warn>,
}

impl fmt::Debug for DirectoryOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DirectoryOptions")
            .field("owners", &self.owners)
            .field("replace", &self.replace)
            .finish_non_exhaustive()
    }
}

/// Writes a directory.
#[derive(Debug)]
pub struct DirectorySink {
    /// Before the directory, which goes when all have ended.
    writers: Writers,
    staging: Staging,
    options: DirectoryOptions,
    files: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl DirectorySink {
    /// Prepares to write `target`, whose parent exists.
    ///
    /// # Errors
    /// [`SinkError`]: when there is something at `target` that is not to be replaced, or nothing can
    /// be written beside it.
    pub fn create(target: &Path, options: DirectoryOptions) -> Result<Self, SinkError> {
        let staging = Staging::create(target, options.replace)?;
        Ok(Self {
            writers: Writers::start(staging.content()),
            staging,
            options,
            files: 0,
            bytes: 0,
            buffer: Vec::new(),
        })
    }
}

impl Sink for DirectorySink {
    fn file(&mut self, size: u64, content: &mut dyn Read) -> Result<FileData, SinkError> {
        let number = self.files;
        let failed = |failure| match failure {
            content::Failure::Read(source) => SinkError::Content(source),
            content::Failure::Write(source) => self.staging.failed(source),
        };
        if size <= SMALL {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            content.read_exact(&mut bytes).map_err(SinkError::Content)?;
            let left = self.writers.hand_over(number, bytes);
            if let Some(bytes) = left.map_err(|source| self.staging.failed(source))? {
                let written = new_content(self.staging.content(), number)
                    .and_then(|file| content::write_whole(&file, &bytes));
                self.bytes += written.map_err(|source| self.staging.failed(source))?;
            }
        } else {
            let file = new_content(self.staging.content(), number)
                .map_err(|source| self.staging.failed(source))?;
            self.bytes += content::write(&file, size, content, &mut self.buffer).map_err(failed)?;
        }
        self.files += 1;
        Ok(FileData(number))
    }

    fn finish(self: Box<Self>, tree: &InodeTree) -> Result<u64, SinkError> {
        let Self {
            mut writers,
            staging,
            options,
            files,
            bytes,
            ..
        } = *self;
        let handed = writers.finish().map_err(|source| staging.failed(source))?;
        place::build(&staging, tree, files, &options)?;
        staging.publish(&tree.get(super::InodeId::ROOT).metadata, &options)?;
        Ok(bytes + handed)
    }
}

/// A failure to write `what`.
fn write_error(what: impl Into<String>, source: impl Into<io::Error>) -> SinkError {
    SinkError::Write {
        what: what.into(),
        source: source.into(),
    }
}
