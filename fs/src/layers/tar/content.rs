//! The content of one member, holes filled.

use std::io::{self, Read};

use super::reader::Reader;
use super::sparse::Hole;

/// Where the content of a member lies: from the reader's place on.
#[derive(Debug)]
pub(super) struct Data {
    /// Bytes in the archive that belong to the member and were not read yet, without padding.
    pub(super) stored: u64,
    /// Padding behind them.
    pub(super) padding: u64,
    /// Size of the file.
    pub(super) size: u64,
    /// Pieces between holes; `None` when there are no holes.
    pub(super) pieces: Option<Vec<Hole>>,
}

impl Data {
    /// None at all.
    pub(super) const NONE: Self = Self {
        stored: 0,
        padding: 0,
        size: 0,
        pieces: None,
    };
}

/// Reads it.
pub(super) struct Content<'a> {
    reader: &'a mut Reader,
    data: Data,
    at: u64,
    piece: usize,
}

impl<'a> Content<'a> {
    pub(super) fn new(reader: &'a mut Reader, data: Data) -> Self {
        Self {
            reader,
            data,
            at: 0,
            piece: 0,
        }
    }

    /// Goes to the header behind.
    pub(super) fn skip_rest(self) -> io::Result<()> {
        self.reader.skip(self.data.stored)?;
        self.reader.skip_padding(self.data.padding)
    }

    /// Bytes of the archive, up to `most` of them.
    fn stored(&mut self, buffer: &mut [u8], most: u64) -> io::Result<usize> {
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.reader.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(super::reader::cut_off());
        }
        self.data.stored -= got as u64;
        self.at += got as u64;
        Ok(got)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pieces) = &self.data.pieces else {
            return self.stored(buffer, self.data.stored);
        };
        while pieces
            .get(self.piece)
            .is_some_and(|piece| piece.offset + piece.length <= self.at)
        {
            self.piece += 1;
        }
        let next = pieces.get(self.piece).copied();
        let hole_end = next.map_or(self.data.size, |piece| piece.offset);
        if let Some(piece) = next.filter(|piece| piece.offset <= self.at) {
            return self.stored(buffer, piece.offset + piece.length - self.at);
        }
        let zeros = usize::try_from(hole_end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        buffer[..zeros].fill(0);
        self.at += zeros as u64;
        Ok(zeros)
    }
}
