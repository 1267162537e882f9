//! Whole-block decompression with the output bounded by the buffer the caller brings.
//!
//! Formats that compress in blocks hand over one block and a buffer of the size it may have.
//! Decoders keep state worth reusing (tables, windows); each thread has its own and keeps it.

mod gzip;
mod lz4;
mod lzo;
#[cfg(test)]
mod tests;
mod xz;
mod zstd;

use std::cell::RefCell;
use std::fmt;

/// Compression of the blocks of an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// DEFLATE with the zlib frame (squashfs calls it gzip).
    Gzip,
    /// LZO1X without a frame.
    Lzo,
    /// XZ container.
    Xz,
    /// LZ4 block without a frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Lzo => "lzo",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a block could not be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The input is no stream of this codec, or a damaged one.
    #[error("damaged {codec} data: {reason}")]
    Damaged {
        /// The codec asked for.
        codec: Codec,
        /// What the decoder found.
        reason: &'static str,
    },
    /// The input decodes to more than the buffer holds.
    #[error("{codec} data decodes to more than {limit} bytes")]
    TooLong {
        /// The codec asked for.
        codec: Codec,
        /// Size of the buffer.
        limit: usize,
    },
    /// The decoder's state could not be allocated.
    #[error("out of memory for the {codec} decoder")]
    Memory {
        /// The codec asked for.
        codec: Codec,
    },
}

/// One thread's decoders, made when first needed. LZO, LZ4 and XZ keep nothing between blocks.
#[derive(Default)]
struct Decoders {
    gzip: Option<gzip::Decoder>,
    zstd: Option<zstd::Decoder>,
}

thread_local! {
    static DECODERS: RefCell<Decoders> = RefCell::default();
}

/// Decodes the block `input` to the front of `output`; returns how many bytes it gave.
///
/// # Errors
/// [`DecodeError`]; the content of `output` is then unspecified.
pub fn decode(codec: Codec, input: &[u8], output: &mut [u8]) -> Result<usize, DecodeError> {
    // Zstandard would take it for a sequence of no frames, LZ4 for a block without sequences.
    if input.is_empty() {
        return Err(DecodeError::Damaged {
            codec,
            reason: "nothing to decode",
        });
    }
    match codec {
        Codec::Gzip => DECODERS.with_borrow_mut(|decoders| {
            decoders
                .gzip
                .get_or_insert_with(gzip::Decoder::new)
                .decode(input, output)
        }),
        Codec::Zstd => DECODERS.with_borrow_mut(|decoders| {
            let decoder = match &mut decoders.zstd {
                Some(decoder) => decoder,
                empty => empty.insert(zstd::Decoder::new()?),
            };
            decoder.decode(input, output)
        }),
        Codec::Lzo => lzo::decode(input, output),
        Codec::Xz => xz::decode(input, output),
        Codec::Lz4 => lz4::decode(input, output),
    }
}
