//! LZO1X blocks, decoded by our own code: the published decoders in Rust are unmaintained or under
//! another licence, and the format is a page (the kernel's Documentation/staging/lzo.rst).
//!
//! A block is a sequence of instructions. Each copies a match from what was written already, and
//! its two low bits say how many literals (0-3) follow; a separate instruction carries longer runs
//! of literals. What a byte below 16 means depends on the literals just before it:
//!
//! | byte      | after 0 literals  | after 1-3             | after a long run         |
//! |-----------|-------------------|-----------------------|--------------------------|
//! | 0-15      | long literal run  | 2 bytes, near         | 3 bytes, 2 KiB away      |
//! | 16-31     | match 16-48 KiB away; distance exactly 16 KiB: end of the block              |||
//! | 32-63     | match up to 16 KiB away                                                      |||
//! | 64-255    | 3-8 bytes, up to 2 KiB away                                                  |||

use super::{Codec, DecodeError};

const INCOMPLETE: DecodeError = damaged("incomplete block");
const BEFORE_START: DecodeError = damaged("match before the start");

const fn damaged(reason: &'static str) -> DecodeError {
    DecodeError::Damaged {
        codec: Codec::Lzo,
        reason,
    }
}

/// Distance from which the far matches count; a far match of just this distance ends the block.
const FAR: usize = 0x4000;

/// What the instruction before left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A match with no literals behind it, or the start.
    Nothing,
    /// One to three literals.
    FewLiterals,
    /// A run of literals.
    Run,
}

pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, DecodeError> {
    let mut input = Input { rest: input };
    let mut output = Output {
        buffer: output,
        len: 0,
    };
    let mut before = Before::Nothing;
    // The first byte may hold the length of a run that starts the block.
    if let Some(&first @ 18..) = input.rest.first() {
        input.byte()?;
        let count = usize::from(first).saturating_sub(17);
        output.literals(input.take(count)?)?;
        before = if count < 4 {
            Before::FewLiterals
        } else {
            Before::Run
        };
    }
    loop {
        let byte = input.byte()?;
        let (length, distance, literals) = match byte {
            0..=15 if before == Before::Nothing => {
                let count = input.length(byte, 15)?.saturating_add(3);
                output.literals(input.take(count)?)?;
                before = Before::Run;
                continue;
            }
            0..=15 => {
                let near = (usize::from(input.byte()?) << 2) | usize::from((byte >> 2) & 3);
                if before == Before::Run {
                    (3, near.saturating_add(2049), byte & 3)
                } else {
                    (2, near.saturating_add(1), byte & 3)
                }
            }
            16..=31 => {
                let length = input.length(byte & 7, 7)?.saturating_add(2);
                let (low, literals) = input.distance()?;
                let distance = FAR
                    .saturating_add(usize::from(byte & 8) << 11)
                    .saturating_add(low);
                if distance == FAR {
                    return Ok(output.len);
                }
                (length, distance, literals)
            }
            32..=63 => {
                let length = input.length(byte & 31, 31)?.saturating_add(2);
                let (low, literals) = input.distance()?;
                (length, low.saturating_add(1), literals)
            }
            64.. => {
                let length = if byte < 128 {
                    usize::from((byte >> 5) & 1).saturating_add(3)
                } else {
                    usize::from((byte >> 5) & 3).saturating_add(5)
                };
                let near = (usize::from(input.byte()?) << 3) | usize::from((byte >> 2) & 7);
                (length, near.saturating_add(1), byte & 3)
            }
        };
        output.repeat(distance, length)?;
        output.literals(input.take(usize::from(literals))?)?;
        before = if literals == 0 {
            Before::Nothing
        } else {
            Before::FewLiterals
        };
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(INCOMPLETE)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(INCOMPLETE)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length whose field `short` is 0 goes on in the following bytes: each zero byte adds 255,
    /// the first other byte its value, all on top of the field's `maximum`.
    fn length(&mut self, short: u8, maximum: usize) -> Result<usize, DecodeError> {
        if short != 0 {
            return Ok(usize::from(short));
        }
        let mut length = maximum;
        loop {
            match self.byte()? {
                0 => length = length.saturating_add(255),
                last => return Ok(length.saturating_add(usize::from(last))),
            }
        }
    }

    /// Fourteen bits of distance and two of literal count.
    fn distance(&mut self) -> Result<(usize, u8), DecodeError> {
        let low = self.byte()?;
        let high = self.byte()?;
        Ok((usize::from(u16::from_le_bytes([low, high]) >> 2), low & 3))
    }
}

struct Output<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    fn literals(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let end = self.len.saturating_add(bytes.len());
        self.room(end)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Copies `length` bytes from `distance` behind the end; the match may run into itself.
    fn repeat(&mut self, distance: usize, length: usize) -> Result<(), DecodeError> {
        let start = self.len.checked_sub(distance).ok_or(BEFORE_START)?;
        let end = self.len.saturating_add(length);
        self.room(end)?;
        // What is written grows by the distance each turn and stays periodic, so each copy can
        // be as long as all that lies behind the start.
        while self.len < end {
            let count = self
                .len
                .saturating_sub(start)
                .min(end.saturating_sub(self.len));
            self.buffer
                .copy_within(start..start.saturating_add(count), self.len);
            self.len = self.len.saturating_add(count);
        }
        Ok(())
    }

    /// The free part up to `end`.
    fn room(&mut self, end: usize) -> Result<&mut [u8], DecodeError> {
        let limit = self.buffer.len();
        self.buffer
            .get_mut(self.len..end)
            .ok_or(DecodeError::TooLong {
                codec: Codec::Lzo,
                limit,
            })
    }
}
