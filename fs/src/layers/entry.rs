//! One thing that a layer says, and the layer that says it.

use std::io::{self, Read};

use crate::pack::Metadata;
use crate::tree::PackedContent;

/// What a layer says about one path. Paths are components joined by `/`, without a leading one, `.`,
/// `..` or empty components; the root directory is the empty path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where.
    pub path: Vec<u8>,
    /// What is there.
    pub kind: EntryKind,
    /// Owner and so on; meaningless for hard links, whiteouts and opaque marks.
    pub metadata: Metadata,
}

/// What is at a path, or is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// Regular file of so many bytes, whose content goes along.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// Regular file whose content goes along as well, and lies in an image in blocks.
    Packed(PackedContent),
    /// Directory; what lower layers have in it stays.
    Directory,
    /// Symbolic link.
    Symlink {
        /// What it points to, any bytes but NUL.
        target: Vec<u8>,
    },
    /// Another name of what this layer or one below has at `target` (a path as [`Entry::path`]).
    HardLink {
        /// The other name.
        target: Vec<u8>,
    },
    /// Character device, number as Linux encodes it for user space.
    CharDevice(u32),
    /// Block device.
    BlockDevice(u32),
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Nothing: what lower layers have at the path is hidden.
    Whiteout,
    /// What lower layers have in the directory at the path is hidden.
    Opaque,
}

/// Why a layer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its bytes could not be read or unpacked.
    #[error("reading {layer}")]
    Read {
        /// Name of the layer for messages.
        layer: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// What it says cannot be.
    #[error("{layer}: {path}: {reason}")]
    Entry {
        /// Name of the layer for messages.
        layer: String,
        /// The path, as the layer writes it, with what is not printable escaped.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The sink failed.
    #[error(transparent)]
    Sink(#[from] crate::pack::SinkError),
}

/// Takes an entry and, for regular files, its content. What is not read of the content is skipped.
pub type Visit<'a> = dyn FnMut(Entry, &mut dyn Read) -> Result<(), LayerError> + 'a;

/// A layer: entries in the order in which they apply.
pub trait Layer: Send {
    /// Name for messages, such as a digest or a path.
    fn name(&self) -> &str;

    /// Hands all entries to `visit`; called once. Digests that the layer was promised to have have
    /// been checked when it returns.
    ///
    /// # Errors
    /// [`LayerError`], the first.
    fn visit(&mut self, visit: &mut Visit<'_>) -> Result<(), LayerError>;
}
