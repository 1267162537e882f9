//! What layers are compressed with.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::check::Checked;

/// How a layer is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// Deflate with gzip's frame.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// bzip2, which is recognised and refused.
    Bzip2,
}

/// Bytes that suffice to tell.
const MAGIC: usize = 6;
/// Read from the source at a time.
const BUFFER: usize = 256 << 10;
/// zstd windows up to 2^27 bytes, which is what `zstd --ultra` makes without being told.
const WINDOW_LOG: u32 = 27;
/// Memory that an xz stream may ask for.
const XZ_MEMORY: u64 = 256 << 20;

impl Compression {
    /// By the first bytes.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // Skippable frames, with which zstd:chunked and seekable files may begin.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

type Input<'a> = Chain<Cursor<Vec<u8>>, BufReader<Checked<'a>>>;

/// One stream being inflated.
pub(super) enum Decoder<'a> {
    None(Input<'a>),
    Gzip(MultiGzDecoder<Input<'a>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<'a>>),
    Xz(XzDecoder<Input<'a>>),
}

impl<'a> Decoder<'a> {
    pub(super) fn new(input: Checked<'a>) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut start = Vec::new();
        input.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
        let compression = Compression::of(&start);
        let input = Cursor::new(start).chain(input);
        Ok(match compression {
            Compression::None => Self::None(input),
            Compression::Gzip => Self::Gzip(MultiGzDecoder::new(input)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
                Self::Xz(XzDecoder::new_stream(input, stream))
            }
            Compression::Bzip2 => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "it is compressed with bzip2, which is not supported",
                ));
            }
        })
    }

    fn input(&self) -> &Input<'a> {
        match self {
            Self::None(input) => input,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Xz(decoder) => decoder.get_ref(),
        }
    }

    /// Compressed bytes taken so far.
    pub(super) fn read(&self) -> u64 {
        self.input().get_ref().1.get_ref().count()
    }

    /// The source, behind the compressed stream; whatever else follows there must be nothing.
    pub(super) fn into_input(self) -> io::Result<Checked<'a>> {
        let mut input = match self {
            Self::None(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Xz(decoder) => decoder.into_inner(),
        };
        if !input.fill_buf()?.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something else follows its compressed data",
            ));
        }
        Ok(input.into_inner().1.into_inner())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
        .map_err(told)
    }
}

/// A stream that ends too early, in words.
fn told(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        io::Error::new(error.kind(), "its compressed data is cut off")
    } else {
        error
    }
}
