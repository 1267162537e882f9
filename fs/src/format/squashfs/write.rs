//! Writes squashfs 4.0, on all processors.
//!
//! ```text
//! caller: content cut into blocks ─► queue ─► workers pack ─► one thread writes, in the order of
//!         small files into fragments                          the caller, and drops duplicates
//! finish: inodes, directories and tables, from the tree; the superblock last
//! ```
//! What is written depends on content and options alone, never on the number of threads or on
//! which was faster. Memory is bounded but for tables: some blocks in flight, four bytes for each
//! block written, some dozens for each file.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "unlike a reader's, the numbers here are the writer's own"
)]

mod arguments;
mod compress;
mod directory;
mod encode;
mod held;
mod metadata;
mod options;
mod output;
mod pipeline;
mod superblock;
mod tables;
#[cfg(test)]
mod tests;
mod xattrs;

pub use arguments::ArgumentError;
pub use options::{Compressor, WriteOptions};

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::pack::{AccessProfile, FileData, InodeTree, Sink, SinkError};
use crate::tree::{PackedBlock, PackedContent};

use held::Held;
use output::Output;
use pipeline::{Pipeline, Purpose};

/// File systems end at a multiple of this, so that a loop device holds all of it.
const PADDING: u64 = 4096;

/// The start of a fragment, and where in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tail {
    fragment: u32,
    offset: u32,
}

/// Content that was taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    size: u64,
    /// Bytes in blocks of zeros, which are not stored.
    sparse: u64,
    tail: Option<Tail>,
    /// Number of the run of blocks, as the writing thread counts them.
    run: Option<u32>,
}

impl Taken {
    /// Content of which nothing is written yet.
    const fn empty(size: u64) -> Self {
        Self {
            size,
            sparse: 0,
            tail: None,
            run: None,
        }
    }
}

/// A file system that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Its length in bytes.
    pub size: u64,
    /// Where the content of the files of the access profile lies, counted from its start.
    pub profile: Option<Range<u64>>,
}

/// A squashfs being written to a file.
#[derive(Debug)]
pub struct SquashfsWriter {
    options: WriteOptions,
    block_size: usize,
    pipeline: Pipeline,
    taken: Vec<Taken>,
    runs: u32,
    /// The fragment block that is being filled, and its number.
    fragment: Vec<u8>,
    fragments: u32,
    /// Where small files with this digest lie.
    tails: HashMap<[u8; 32], Tail>,
    /// Content that is to lie behind all other.
    held: Option<Held>,
}

fn write_error(source: io::Error) -> SinkError {
    SinkError::Write {
        what: "the squashfs file system".to_owned(),
        source,
    }
}

impl SquashfsWriter {
    /// Starts a file system at byte `offset` of `file`, which is open for reading and writing and
    /// ends when the file system does.
    ///
    /// # Errors
    /// When options contradict each other or threads cannot be started.
    pub fn new(file: File, offset: u64, options: WriteOptions) -> Result<Self, SinkError> {
        options.check().map_err(SinkError::Unfit)?;
        let block_size = usize::try_from(options.block_size).unwrap_or(usize::MAX);
        let output = Output::new(file, offset, &options).map_err(write_error)?;
        Ok(Self {
            options,
            block_size,
            pipeline: Pipeline::start(&options, output).map_err(write_error)?,
            taken: Vec::new(),
            runs: 0,
            fragment: Vec::new(),
            fragments: 0,
            tails: HashMap::new(),
            held: None,
        })
    }

    /// The files that `profile` names lie together behind all others, in its order; they are kept
    /// in `file`, which is empty, until the others are written.
    #[must_use]
    pub fn with_profile(mut self, profile: Arc<AccessProfile>, file: File) -> Self {
        self.held = (!profile.is_empty()).then(|| Held::new(profile, file));
        self
    }

    /// Takes the blocks of a file, all of it or all but its tail; bytes that holes save.
    fn blocks(&mut self, mut size: u64, content: &mut dyn Read) -> Result<u64, SinkError> {
        let mut sparse = 0;
        let mut zeros: u64 = 0;
        while size > 0 {
            let mut block = self.pipeline.buffer();
            let len =
                usize::try_from(size).map_or(self.block_size, |size| size.min(self.block_size));
            append(content, &mut block, len)?;
            size -= len as u64;
            if self.options.sparse && is_zero(&block) {
                self.pipeline.give_back(block);
                sparse += len as u64;
                zeros += 1;
                continue;
            }
            self.pipeline.holes(std::mem::take(&mut zeros))?;
            self.pipeline.pack(Purpose::Data, block)?;
        }
        self.pipeline.holes(zeros)?;
        self.pipeline.end_of_run()?;
        Ok(sparse)
    }

    /// Takes the last `len` bytes of a file, less than a block, into a fragment.
    fn tail(&mut self, len: usize, content: &mut dyn Read) -> Result<Tail, SinkError> {
        let start = self.fragment.len();
        append(content, &mut self.fragment, len)?;
        let digest = self
            .options
            .duplicates
            .then(|| <[u8; 32]>::from(Sha256::digest(&self.fragment[start..])));
        if let Some(known) = digest.and_then(|digest| self.tails.get(&digest)) {
            self.fragment.truncate(start);
            return Ok(*known);
        }
        let mut offset = start;
        if self.fragment.len() > self.block_size {
            let mut next = self.pipeline.buffer();
            next.extend_from_slice(&self.fragment[start..]);
            self.fragment.truncate(start);
            let full = std::mem::replace(&mut self.fragment, next);
            self.seal(full)?;
            offset = 0;
        }
        let tail = Tail {
            fragment: self.fragments,
            // Offsets are less than a block, so at most 1 MiB.
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        };
        if let Some(digest) = digest {
            self.tails.insert(digest, tail);
        }
        Ok(tail)
    }

    fn seal(&mut self, fragment: Vec<u8>) -> Result<(), SinkError> {
        self.fragments = self
            .fragments
            .checked_add(1)
            .ok_or_else(|| SinkError::Unfit("more fragments than squashfs can hold".to_owned()))?;
        self.pipeline.pack(Purpose::Fragment, fragment)
    }

    /// How much of a file of `size` bytes goes to a fragment.
    fn tail_len(&self, size: u64) -> u64 {
        let block_size = u64::from(self.options.block_size);
        if !self.options.fragments || (size > block_size && !self.options.always_use_fragments) {
            return 0;
        }
        size % block_size
    }

    fn next_run(&mut self) -> Result<u32, SinkError> {
        let run = self.runs;
        self.runs = run
            .checked_add(1)
            .ok_or_else(|| SinkError::Unfit("more files than squashfs can hold".to_owned()))?;
        Ok(run)
    }

    /// Whether blocks of another image are such as would be written here.
    fn fits(&self, packed: &PackedContent) -> bool {
        let options = &self.options;
        packed.codec == options.compressor.codec()
            && packed.block_size == options.block_size
            && options.compress_data
            && self.tail_len(packed.size) == 0
            && packed.size.div_ceil(u64::from(packed.block_size)) == packed.blocks.len() as u64
            && (options.sparse || !packed.blocks.contains(&PackedBlock::Hole))
    }

    /// Keeps content that is to lie behind all other, if it is such.
    fn hold(&mut self, size: u64, content: &mut dyn Read) -> Result<Option<FileData>, SinkError> {
        let Some(held) = &mut self.held else {
            return Ok(None);
        };
        let Some(rank) = held.take_rank(size) else {
            return Ok(None);
        };
        held.keep(rank, self.taken.len(), size, content)?;
        // Until it is written.
        Ok(Some(self.record(Taken::empty(size))))
    }

    /// Writes what was kept.
    fn release(&mut self) -> Result<(), SinkError> {
        let Some(mut held) = self.held.take() else {
            return Ok(());
        };
        // Their small ones share no block with others.
        self.seal_last()?;
        self.pipeline.begin_profile()?;
        for file in held.take_files() {
            let mut content = held.content(file)?;
            self.taken[file.data] = self.write(file.size, &mut content)?;
        }
        Ok(())
    }

    /// Ends the fragment block that is being filled, if any.
    fn seal_last(&mut self) -> Result<(), SinkError> {
        if !self.fragment.is_empty() {
            let last = std::mem::take(&mut self.fragment);
            self.seal(last)?;
        }
        Ok(())
    }

    fn write(&mut self, size: u64, content: &mut dyn Read) -> Result<Taken, SinkError> {
        let mut taken = Taken::empty(size);
        let tail = self.tail_len(size);
        if size > tail {
            taken.run = Some(self.next_run()?);
            taken.sparse = self.blocks(size - tail, content)?;
        }
        if tail > 0 {
            let len = usize::try_from(tail).unwrap_or(self.block_size);
            taken.tail = Some(self.tail(len, content)?);
        }
        Ok(taken)
    }

    /// As [`Sink::finish`], with what only squashfs can tell.
    ///
    /// # Errors
    /// [`SinkError`]
    pub fn complete(mut self, tree: &InodeTree) -> Result<Finished, SinkError> {
        self.release()?;
        self.seal_last()?;
        let written = self.pipeline.finish()?;
        let profile = written.profile.map(|start| start..written.position);
        let tables = tables::Tables::build(tree, &self.options, &self.taken, &written)?;
        let superblock = tables.write(&self.options, &written)?;
        let size = superblock.bytes_used.next_multiple_of(PADDING);
        let file = &written.file;
        file.set_len(written.base + size).map_err(write_error)?;
        file.write_all_at(&superblock.encode(), written.base)
            .map_err(write_error)?;
        Ok(Finished {
            size,
            profile: profile.filter(|range| !range.is_empty()),
        })
    }

    fn record(&mut self, taken: Taken) -> FileData {
        self.taken.push(taken);
        FileData(self.taken.len() as u64 - 1)
    }
}

impl Sink for SquashfsWriter {
    fn file(&mut self, size: u64, content: &mut dyn Read) -> Result<FileData, SinkError> {
        if i64::try_from(size).is_err() {
            return Err(SinkError::Unfit(format!(
                "a file of {size} bytes is larger than Linux can show"
            )));
        }
        if let Some(data) = self.hold(size, content)? {
            return Ok(data);
        }
        let taken = self.write(size, content)?;
        Ok(self.record(taken))
    }

    fn packed_file(
        &mut self,
        packed: &PackedContent,
        content: &mut dyn Read,
    ) -> Result<FileData, SinkError> {
        if !self.fits(packed) {
            return self.file(packed.size, content);
        }
        if let Some(data) = self.hold(packed.size, content)? {
            return Ok(data);
        }
        let mut taken = Taken::empty(packed.size);
        taken.run = Some(self.next_run()?);
        let mut position = packed.start;
        let mut left = packed.size;
        for block in &packed.blocks {
            let len = left.min(u64::from(packed.block_size));
            left -= len;
            let (size, purpose) = match *block {
                PackedBlock::Hole => {
                    taken.sparse += len;
                    self.pipeline.holes(1)?;
                    continue;
                }
                PackedBlock::Stored(size) => (size, Purpose::Stored),
                PackedBlock::Packed(size) => (size, Purpose::Packed),
            };
            let mut bytes = self.pipeline.buffer();
            bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
            packed
                .source
                .read_exact_at(&mut bytes, position)
                .map_err(SinkError::Content)?;
            position += u64::from(size);
            let len = usize::try_from(len).unwrap_or(self.block_size);
            self.pipeline.take_over(purpose, bytes, len)?;
        }
        self.pipeline.end_of_run()?;
        Ok(self.record(taken))
    }

    fn next_file(&mut self, path: &[u8]) {
        if let Some(held) = &mut self.held {
            held.next_file(path);
        }
    }

    fn finish(self: Box<Self>, tree: &InodeTree) -> Result<u64, SinkError> {
        self.complete(tree).map(|finished| finished.size)
    }
}

/// Adds `len` bytes of `content` to `to`.
fn append(content: &mut dyn Read, to: &mut Vec<u8>, len: usize) -> Result<(), SinkError> {
    to.reserve(len);
    let got = content
        .take(len as u64)
        .read_to_end(to)
        .map_err(SinkError::Content)?;
    if got < len {
        return Err(SinkError::Content(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Whether all of `block` is zero.
fn is_zero(block: &[u8]) -> bool {
    block
        .chunks(256)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}
