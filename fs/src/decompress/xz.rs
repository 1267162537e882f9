//! XZ containers through liblzma. A decoder cannot be rewound by the binding, so each block gets a
//! new one; beside XZ's own cost that does not show.

use liblzma::stream::{Action, Error, Status, Stream};

use super::{Codec, DecodeError};

/// Memory a stream may ask for. Its dictionary is useless beyond the block, which has at most
/// 1 MiB, and mksquashfs keeps to that; the rest is the decoder's own state and filters.
const MEMORY_LIMIT: u64 = 8 << 20;

pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, DecodeError> {
    let limit = output.len();
    let damaged = |reason| DecodeError::Damaged {
        codec: Codec::Xz,
        reason,
    };
    let explain = |error| match error {
        Error::Mem => DecodeError::Memory { codec: Codec::Xz },
        Error::MemLimit => damaged("its dictionary is larger than a block can use"),
        Error::Format => damaged("not an xz stream"),
        Error::Options => damaged("unsupported filter or option"),
        Error::NoCheck | Error::UnsupportedCheck => damaged("unsupported checksum"),
        Error::Data | Error::Program => damaged("invalid stream"),
    };
    let mut stream = Stream::new_stream_decoder(MEMORY_LIMIT, 0).map_err(explain)?;
    loop {
        let (had_in, had_out) = (stream.total_in(), stream.total_out());
        let rest_in = tail(input, had_in);
        let rest_out = tail_mut(output, had_out);
        let full = rest_out.is_empty();
        let status = stream
            .process(rest_in, rest_out, Action::Finish)
            .map_err(explain)?;
        let stuck = stream.total_in() == had_in && stream.total_out() == had_out;
        match status {
            Status::StreamEnd => return Ok(usize::try_from(stream.total_out()).unwrap_or(limit)),
            // With room left and nothing moving, the input has ended too early.
            _ if stuck && !full => return Err(damaged("incomplete stream")),
            // The end of the stream writes nothing, so a full buffer is too small only when
            // the decoder cannot go on.
            _ if stuck => {
                return Err(DecodeError::TooLong {
                    codec: Codec::Xz,
                    limit,
                });
            }
            _ => {}
        }
    }
}

fn tail(bytes: &[u8], from: u64) -> &[u8] {
    usize::try_from(from)
        .ok()
        .and_then(|from| bytes.get(from..))
        .unwrap_or_default()
}

fn tail_mut(bytes: &mut [u8], from: u64) -> &mut [u8] {
    usize::try_from(from)
        .ok()
        .and_then(|from| bytes.get_mut(from..))
        .unwrap_or_default()
}
