//! Streams of metadata: cut into blocks of 8 KiB, each packed by itself.

use std::io;

use super::compress::Packer;
use super::options::WriteOptions;

/// What a full block holds.
pub(super) const BLOCK_LEN: usize = 8192;

const STORED: u16 = 0x8000;

/// A place in a stream: where its block starts on disk, from the start of the stream, and the
/// offset in what the block decodes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) offset: u16,
}

impl Place {
    /// As it stands in inode references and tables.
    pub(super) fn reference(self) -> u64 {
        (self.block << 16) | u64::from(self.offset)
    }
}

/// Packs metadata; shared by all streams, which are written by one thread.
pub(super) struct MetadataPacker {
    packer: Packer,
    scratch: Vec<u8>,
}

impl MetadataPacker {
    pub(super) fn new(options: &WriteOptions) -> io::Result<Self> {
        Ok(Self {
            packer: Packer::new(options)?,
            scratch: Vec::new(),
        })
    }

    fn pack(&mut self, block: &[u8], compress: bool, to: &mut Vec<u8>) {
        let packed = if compress {
            self.packer.pack(block, &mut self.scratch)
        } else {
            None
        };
        let (bytes, mark) = match packed {
            Some(len) => (&self.scratch[..len], 0),
            None => (block, STORED),
        };
        // At most BLOCK_LEN.
        let header = u16::try_from(bytes.len()).unwrap_or(0) | mark;
        to.extend_from_slice(&header.to_le_bytes());
        to.extend_from_slice(bytes);
    }
}

/// A stream, kept in memory.
#[derive(Debug)]
pub(super) struct Stream {
    compress: bool,
    /// What has been packed.
    packed: Vec<u8>,
    /// Where each block starts there, with the one that is being filled.
    starts: Vec<u64>,
    block: Vec<u8>,
}

impl Stream {
    pub(super) fn new(compress: bool) -> Self {
        Self {
            compress,
            packed: Vec::new(),
            starts: vec![0],
            block: Vec::with_capacity(BLOCK_LEN),
        }
    }

    /// Where the next byte goes.
    pub(super) fn place(&self) -> Place {
        Place {
            block: self.packed.len() as u64,
            // Full blocks are packed at once.
            offset: u16::try_from(self.block.len()).unwrap_or(0),
        }
    }

    /// Where the block starts that holds the byte `ahead` bytes behind `place`. Both have been
    /// written.
    pub(super) fn block_start(&self, place: Place, ahead: usize) -> u64 {
        let first = self.starts.partition_point(|start| *start < place.block);
        let more = (usize::from(place.offset) + ahead) / BLOCK_LEN;
        self.starts[first + more]
    }

    pub(super) fn write(&mut self, packer: &mut MetadataPacker, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_LEN - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_LEN {
                self.flush(packer);
            }
        }
    }

    fn flush(&mut self, packer: &mut MetadataPacker) {
        packer.pack(&self.block, self.compress, &mut self.packed);
        self.block.clear();
        self.starts.push(self.packed.len() as u64);
    }

    /// All bytes of the stream as they are on disk, and where its blocks start in them.
    pub(super) fn finish(mut self, packer: &mut MetadataPacker) -> (Vec<u8>, Vec<u64>) {
        if !self.block.is_empty() {
            self.flush(packer);
        }
        self.starts.pop();
        (self.packed, self.starts)
    }
}

/// A table of `records` as it is on disk when it starts at `position`: blocks, `header`, list of
/// the blocks' positions; and where the header is, or the list without one.
pub(super) fn table(
    packer: &mut MetadataPacker,
    compress: bool,
    records: &[u8],
    header: &[u8],
    position: u64,
) -> (Vec<u8>, u64) {
    let mut stream = Stream::new(compress);
    stream.write(packer, records);
    let (mut bytes, starts) = stream.finish(packer);
    let list = position + bytes.len() as u64;
    bytes.extend_from_slice(header);
    for start in starts {
        bytes.extend_from_slice(&(position + start).to_le_bytes());
    }
    (bytes, list)
}
