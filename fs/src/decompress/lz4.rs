//! Bare LZ4 blocks through a decoder written in safe Rust.

use lz4_flex::block::{DecompressError, decompress_into};

use super::{Codec, DecodeError};

pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, DecodeError> {
    let limit = output.len();
    decompress_into(input, output).map_err(|error| match error {
        DecompressError::OutputTooSmall { .. } => DecodeError::TooLong {
            codec: Codec::Lz4,
            limit,
        },
        _ => DecodeError::Damaged {
            codec: Codec::Lz4,
            reason: "invalid or incomplete block",
        },
    })
}
