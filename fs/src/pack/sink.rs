//! Where file systems are written to.

use std::io::{self, Read};

use super::inodes::InodeTree;
use crate::tree::PackedContent;

/// What a [`Sink`] calls the content of a file it has taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileData(pub u64);

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The content could not be read; the layer knows why.
    #[error("reading the content of a file")]
    Content(#[source] io::Error),
    /// The file system or file written to failed.
    #[error("writing {what}")]
    Write {
        /// The file, or the part of it.
        what: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The format cannot hold this.
    #[error("{0}")]
    Unfit(String),
}

/// Takes content first, in the order in which it is to lie, and the tree at last.
pub trait Sink {
    /// Says whose content the next call brings: `path` as in [`crate::layers::entry::Entry`]. Only
    /// the order in which contents lie may depend on it.
    fn next_file(&mut self, _path: &[u8]) {}

    /// Takes the content of one file: `size` bytes of `content`, all of which is read. An empty file
    /// has content as well.
    ///
    /// # Errors
    /// [`SinkError`]; `content` that ends early is one.
    fn file(&mut self, size: u64, content: &mut dyn Read) -> Result<FileData, SinkError>;

    /// As [`Sink::file`] for content that also lies in another image, as `packed` says: `content`
    /// need not be read then.
    ///
    /// # Errors
    /// As [`Sink::file`].
    fn packed_file(
        &mut self,
        packed: &PackedContent,
        content: &mut dyn Read,
    ) -> Result<FileData, SinkError> {
        self.file(packed.size, content)
    }

    /// Writes names and attributes and ends; the number of bytes written in all.
    ///
    /// # Errors
    /// [`SinkError`].
    fn finish(self: Box<Self>, tree: &InodeTree) -> Result<u64, SinkError>;
}
