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
#[cfg(test)]
mod tests;

use std::io::Read;

use super::entry::{Entry, EntryKind, Layer, LayerError};
use crate::pack::{InodeTree, Sink, SinkError};
use apply::Applied;
use options::Policy;
use records::{Records, Said};

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
    let mut policy = Policy::new(options);
    let mut read = Vec::with_capacity(layers.len());
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
        layer.visit(&mut |entry, bytes| {
            match &entry.kind {
                EntryKind::File { size } => content += size,
                EntryKind::Packed(packed) => content += packed.size,
                _ => {}
            }
            if (records.len() as u64).is_multiple_of(STEP) {
                tell(records.len() as u64, content, false);
            }
            take(entry, bytes, &mut policy, &mut records, sink)
        })?;
        tell(records.len() as u64, content, true);
        read.push(records);
    }
    let mut applied = Applied::new(options);
    while let Some(records) = read.pop() {
        applied.layer(records)?;
    }
    let (tree, closed_directories) = applied.finish();
    Ok(Merged {
        tree,
        devices: policy.devices(),
        xattrs: policy.dropped_xattrs(),
        closed_directories,
    })
}

/// Puts one entry on record, and its content into the sink.
fn take(
    entry: Entry,
    content: &mut dyn Read,
    policy: &mut Policy<'_>,
    records: &mut Records,
    sink: &mut dyn Sink,
) -> Result<(), LayerError> {
    if records.len() as u64 >= policy.options().entries {
        return Err(records.wrong(&entry.path, "the image has too many files"));
    }
    let Entry {
        path,
        kind,
        metadata,
    } = entry;
    let said = match kind {
        EntryKind::File { size } => Said::File(give(sink, size, content, records.name())?, size),
        EntryKind::Packed(packed) => {
            let data = sink.packed_file(&packed, content);
            Said::File(taken(data, records.name())?, packed.size)
        }
        EntryKind::CharDevice(_) | EntryKind::BlockDevice(_) if policy.replaces_devices() => {
            policy.count_device();
            Said::File(give(sink, 0, &mut std::io::empty(), records.name())?, 0)
        }
        EntryKind::Directory => Said::Directory,
        EntryKind::Symlink { target } => Said::Symlink(target.into()),
        EntryKind::HardLink { target } => Said::HardLink(target.into()),
        EntryKind::CharDevice(number) => Said::CharDevice(number),
        EntryKind::BlockDevice(number) => Said::BlockDevice(number),
        EntryKind::Fifo => Said::Fifo,
        EntryKind::Socket => Said::Socket,
        EntryKind::Whiteout => Said::Whiteout,
        EntryKind::Opaque => Said::Opaque,
    };
    let metadata = policy.metadata(metadata, &said);
    records.push(path, said, metadata);
    Ok(())
}

/// Content to the sink. That it cannot be read is the layer's failure.
fn give(
    sink: &mut dyn Sink,
    size: u64,
    content: &mut dyn Read,
    layer: &str,
) -> Result<crate::pack::FileData, LayerError> {
    taken(sink.file(size, content), layer)
}

fn taken(
    data: Result<crate::pack::FileData, SinkError>,
    layer: &str,
) -> Result<crate::pack::FileData, LayerError> {
    data.map_err(|error| match error {
        SinkError::Content(source) => LayerError::Read {
            layer: layer.to_owned(),
            source,
        },
        error => LayerError::Sink(error),
    })
}
