//! What one layer says, kept until all layers are known.

use crate::layers::entry::LayerError;
use crate::layers::tar::shown;
use crate::pack::{FileData, Metadata};

/// What stands for content that nobody sees.
pub(super) const HIDDEN: FileData = FileData(u64::MAX);

/// What is said about a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    File(FileData, u64),
    Directory,
    Symlink(Box<[u8]>),
    HardLink(Box<[u8]>),
    CharDevice(u32),
    BlockDevice(u32),
    Fifo,
    Socket,
    Whiteout,
    Opaque,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) path: Box<[u8]>,
    pub(super) said: Said,
    pub(super) metadata: Metadata,
}

/// All entries of a layer, in their order.
#[derive(Debug)]
pub(super) struct Records {
    name: String,
    records: Vec<Record>,
    hides: bool,
}

impl Records {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            records: Vec::new(),
            hides: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is any whiteout or opaque mark.
    pub(super) fn hides(&self) -> bool {
        self.hides
    }

    pub(super) fn push(&mut self, path: Vec<u8>, said: Said, metadata: Metadata) {
        self.hides |= matches!(said, Said::Whiteout | Said::Opaque);
        self.records.push(Record {
            path: path.into(),
            said,
            metadata,
        });
    }

    /// The content of a record that was hidden has been given to the sink after all.
    pub(super) fn found(&mut self, number: usize, data: FileData, size: u64) {
        if let Some(record) = self.records.get_mut(number) {
            record.said = Said::File(data, size);
        }
    }

    pub(super) fn into_parts(self) -> (String, Vec<Record>) {
        (self.name, self.records)
    }

    pub(super) fn wrong(&self, path: &[u8], reason: impl Into<String>) -> LayerError {
        wrong(&self.name, path, reason)
    }
}

/// An entry of `layer` that cannot be.
pub(super) fn wrong(layer: &str, path: &[u8], reason: impl Into<String>) -> LayerError {
    LayerError::Entry {
        layer: layer.to_owned(),
        path: shown(path),
        reason: reason.into(),
    }
}
