//! The tree of an image, and where in the image the bytes of its files lie.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use skiff_fs::format::squashfs::{Squashfs, SquashfsOptions, Superblock};
use skiff_fs::image::Image;
use skiff_fs::source::{CachedSource, Source};
use skiff_fs::tree::{FileKind, NodeRef, Segment, Tree, TreeError};

/// The part with headers: a SIF's header and descriptors, and the superblock.
const HEADERS: u64 = 64 << 10;

/// Tables of a sound image are a small part of it; a damaged one may say anything.
const MAX_TABLES: u64 = 256 << 20;

/// Ranges with less than this between them are fetched as one: another request would cost more.
const NEAR: u64 = 16 << 10;

/// An image's tree over its cached bytes.
#[derive(Debug)]
pub(super) struct View {
    places: Arc<Places>,
    tree: Squashfs,
    tables: Range<u64>,
}

impl View {
    /// Opens the tree of `image`, whose bytes are those of `source`.
    ///
    /// # Errors
    /// When it has none, or it cannot be read.
    pub(super) fn open(image: Image, source: Arc<CachedSource>) -> anyhow::Result<Self> {
        let places = Arc::new(Places {
            source,
            noted: Mutex::default(),
        });
        let (offset, size) = (image.offset(), image.root_size());
        let image = image.through(Arc::clone(&places) as _);
        let tree = image
            .squashfs(&SquashfsOptions::default())
            .context("opening its file system")?;
        let tables = tables(tree.superblock(), offset, size);
        Ok(Self {
            places,
            tree,
            tables,
        })
    }

    /// The tree.
    pub(super) fn tree(&self) -> &dyn Tree {
        &self.tree
    }

    /// What is needed to look at any file of the tree: headers and tables.
    pub(super) fn metadata(&self) -> Vec<Range<u64>> {
        let headers = 0..HEADERS.min(self.places.source.size());
        merged(vec![headers, self.tables.clone()])
    }

    /// Where the content of these files lies, in order, each place once.
    ///
    /// # Errors
    /// When a node cannot be read.
    pub(super) fn places(&self, nodes: &[NodeRef]) -> Result<Vec<Range<u64>>, TreeError> {
        self.places.take();
        for node in nodes {
            let attr = self.tree.attr(*node)?;
            if attr.kind == FileKind::Regular {
                self.tree.announce(*node, 0, attr.size);
            }
        }
        Ok(merged(self.places.take()))
    }

    /// The content of a regular file of up to `max` bytes; `None` for others.
    pub(super) fn content(&self, node: NodeRef, max: u64) -> Option<Vec<u8>> {
        let attr = self.tree.attr(node).ok()?;
        if attr.kind != FileKind::Regular || attr.size > max {
            return None;
        }
        let len = usize::try_from(attr.size).ok()?;
        let mut segments = Vec::new();
        self.tree.read(node, 0, len, &mut segments).ok()?;
        let mut content = Vec::with_capacity(len);
        for segment in segments {
            match segment {
                Segment::Bytes(bytes, range) => content.extend_from_slice(bytes.get(range)?),
                Segment::Zeros(count) => content.resize(content.len() + count, 0),
            }
        }
        Some(content)
    }
}

/// From the first table to the end: mksquashfs writes all of them behind the data.
fn tables(superblock: &Superblock, offset: u64, size: u64) -> Range<u64> {
    let starts = [
        Some(superblock.inode_table),
        Some(superblock.directory_table),
        superblock.fragment_table,
        superblock.export_table,
        Some(superblock.id_table),
        superblock.xattr_table,
    ];
    let end = superblock.bytes_used.min(size);
    // The tables of other writers may lie elsewhere: then they are fetched as they are read.
    let start = starts.into_iter().flatten().min().unwrap_or(end);
    let start = start.clamp(end.saturating_sub(MAX_TABLES), end);
    offset.saturating_add(start)..offset.saturating_add(end)
}

/// In order, without overlaps, near ones joined.
pub(super) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(NEAR) => {
                last.end = last.end.max(range.end);
            }
            _ => all.push(range),
        }
    }
    all
}

/// The cached bytes, with a note of what is announced in place of reading it ahead.
#[derive(Debug)]
struct Places {
    source: Arc<CachedSource>,
    noted: Mutex<Vec<Range<u64>>>,
}

impl Places {
    fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source for Places {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.source.read_at(buf, offset)
    }

    fn read_within(&self, buf: &mut [u8], offset: u64, window: Range<u64>) -> io::Result<usize> {
        self.source.read_within(buf, offset, window)
    }

    fn will_need(&self, range: Range<u64>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(range);
    }

    fn is_remote(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of ranges is meant")]
    fn merging() {
        assert_eq!(merged(vec![5..9, 0..3, 2..4, 7..7]), [0..9]);
        let far = 1 << 20;
        assert_eq!(merged(vec![far..far + 1, 0..1, 0..5]), [0..5, far..far + 1]);
        assert_eq!(merged(vec![]), []);
    }
}
