//! Layers to one tree.
//!
//! ```text
//! layers, top first ──► shadow: may this be seen? ──► content to the sink, or aside
//!                   └─► records                 ┐
//! lowest record first ─────────────────────────►┴ apply ──► InodeTree
//! ```
//! Names are decided at the end, when all is known, by applying one layer after the other from the
//! lowest up, in memory, just as tools do that unpack layers over each other. What those do with
//! symbolic links in paths, with hard links into other layers and with whiteouts in odd places is then
//! what happens here. Coming from the top only helps to leave out content that nobody will see.

mod apply;
mod options;
mod records;
mod resolve;
mod shadow;
mod spool;
#[cfg(test)]
mod tests;

use std::io::Read;

use super::entry::{Entry, EntryKind, Layer, LayerError};
use crate::pack::{FileData, InodeTree, Sink, SinkError};
use apply::Applied;
use options::Policy;
use records::{HIDDEN, Records, Said};
use shadow::{Shadow, last};
use spool::Spool;

pub use options::{Devices, MergeOptions, Owners, Xattrs};

/// What has been done, for somebody who watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress<'a> {
    /// The layer that is being read, from 0 at the top.
    pub layer: usize,
    /// Its name.
    pub name: &'a str,
    /// Entries of it so far.
    pub entries: u64,
    /// Bytes of content so far, of all layers.
    pub content: u64,
    /// Whether the layer has been read to its end.
    pub done: bool,
}

/// The tree, and what became of things that it cannot have.
#[derive(Debug)]
pub struct Merged {
    /// All names and attributes.
    pub tree: InodeTree,
    /// Devices that empty files stand for.
    pub devices: u64,
    /// Extended attributes that were left out.
    pub xattrs: u64,
    /// Directories that their owner cannot read, enter or write.
    pub closed_directories: u64,
}

/// Entries between two calls of the watcher.
const STEP: u64 = 256;

/// Reads `layers`, the uppermost first, hands content to `sink` and makes the tree.
///
/// # Errors
/// [`LayerError`]; then what the sink has is of no use.
pub fn merge(
    layers: Vec<Box<dyn Layer>>,
    sink: &mut dyn Sink,
    options: &MergeOptions,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Merged, LayerError> {
    let mut reading = Reading {
        sink,
        policy: Policy::new(options),
        shadow: Shadow::default(),
        spool: Spool::default(),
    };
    let count = layers.len();
    let mut read = Vec::with_capacity(count);
    let mut content = 0_u64;
    for (number, mut layer) in layers.into_iter().enumerate() {
        let name = layer.name().to_owned();
        let mut records = Records::new(name.clone());
        let mut tell = |entries, content, done| {
            watch(Progress {
                layer: number,
                name: &name,
                entries,
                content,
                done,
            });
        };
        reading.shadow.layer(number + 1 == count);
        reading.spool.clear();
        layer.visit(&mut |entry, bytes| {
            match &entry.kind {
                EntryKind::File { size } => content += size,
                EntryKind::Packed(packed) => content += packed.size,
                _ => {}
            }
            if (records.len() as u64).is_multiple_of(STEP) {
                tell(records.len() as u64, content, false);
            }
            reading.take(entry, bytes, &mut records)
        })?;
        tell(records.len() as u64, content, true);
        read.push(records);
    }
    let policy = reading.policy;
    drop((reading.shadow, reading.spool));
    let mut applied = Applied::new(options);
    while let Some(records) = read.pop() {
        applied.layer(records)?;
    }
    let (tree, closed_directories) = applied.finish()?;
    Ok(Merged {
        tree,
        devices: policy.devices(),
        xattrs: policy.dropped_xattrs(),
        closed_directories,
    })
}

/// The way from the top to the bottom.
struct Reading<'a, 'b> {
    sink: &'a mut dyn Sink,
    policy: Policy<'b>,
    shadow: Shadow,
    spool: Spool,
}

impl Reading<'_, '_> {
    /// Puts one entry on record, and its content where it belongs.
    fn take(
        &mut self,
        entry: Entry,
        content: &mut dyn Read,
        records: &mut Records,
    ) -> Result<(), LayerError> {
        if records.len() as u64 >= self.policy.options().entries {
            return Err(records.wrong(&entry.path, "the image has too many files"));
        }
        let Entry {
            path,
            kind,
            metadata,
        } = entry;
        let said = match kind {
            EntryKind::File { size } => Said::File(self.file(&path, size, content, records)?, size),
            // Nothing in the image itself can want it either.
            EntryKind::Packed(packed) if !packed.shared && self.shadow.covers(&path) => {
                Said::File(HIDDEN, packed.size)
            }
            EntryKind::Packed(packed) => {
                self.sink.next_file(&path);
                let data = self.sink.packed_file(&packed, content);
                Said::File(taken(data, records.name())?, packed.size)
            }
            EntryKind::CharDevice(_) | EntryKind::BlockDevice(_)
                if self.policy.replaces_devices() =>
            {
                self.policy.count_device();
                let nothing = &mut std::io::empty();
                Said::File(give(self.sink, 0, nothing, records.name())?, 0)
            }
            EntryKind::Directory => Said::Directory,
            EntryKind::Symlink { target } => Said::Symlink(target.into()),
            EntryKind::HardLink { target } => {
                self.linked(&path, &target, records)?;
                Said::HardLink(target.into())
            }
            EntryKind::CharDevice(number) => Said::CharDevice(number),
            EntryKind::BlockDevice(number) => Said::BlockDevice(number),
            EntryKind::Fifo => Said::Fifo,
            EntryKind::Socket => Said::Socket,
            EntryKind::Whiteout => Said::Whiteout,
            EntryKind::Opaque => Said::Opaque,
        };
        let metadata = self.policy.metadata(metadata, &said);
        self.shadow.note(&path, &said);
        records.push(path, said, metadata);
        Ok(())
    }

    /// The content of a file: to the sink if it may be seen, else aside.
    fn file(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut dyn Read,
        records: &Records,
    ) -> Result<FileData, LayerError> {
        if !self.shadow.covers(path) || !self.spool.has_room(size) {
            self.sink.next_file(path);
            return give(self.sink, size, content, records.name());
        }
        match self.spool.keep(last(path), records.len(), size, content) {
            Ok(()) => Ok(HIDDEN),
            Err(spool::Failure::Read(source)) => Err(LayerError::Read {
                layer: records.name().to_owned(),
                source,
            }),
            Err(spool::Failure::Room(source)) => Err(LayerError::Sink(SinkError::Write {
                what: "a temporary file".to_owned(),
                source,
            })),
        }
    }

    /// A hard link: what it names is wanted, unless it is hidden itself.
    fn linked(
        &mut self,
        path: &[u8],
        target: &[u8],
        records: &mut Records,
    ) -> Result<(), LayerError> {
        if self.shadow.covers(path) {
            self.spool.alias(last(path), last(target));
            return Ok(());
        }
        let sink = &mut *self.sink;
        self.spool.give(last(target), |number, size, content| {
            sink.next_file(target);
            let data = give(sink, size, content, records.name())?;
            records.found(number, data, size);
            Ok(())
        })
    }
}

/// Content to the sink.
fn give(
    sink: &mut dyn Sink,
    size: u64,
    content: &mut dyn Read,
    layer: &str,
) -> Result<FileData, LayerError> {
    taken(sink.file(size, content), layer)
}

/// That content cannot be read is the layer's failure.
fn taken(data: Result<FileData, SinkError>, layer: &str) -> Result<FileData, LayerError> {
    data.map_err(|error| match error {
        SinkError::Content(source) => LayerError::Read {
            layer: layer.to_owned(),
            source,
        },
        error => LayerError::Sink(error),
    })
}
