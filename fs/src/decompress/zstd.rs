//! Zstandard frames through the reference library, straight into the caller's buffer.

use zstd::zstd_safe::{self, DCtx};

use super::{Codec, DecodeError};

/// The library's name for "output buffer too small" (its code is not exported by the binding).
const TOO_SMALL: &str = "Destination buffer is too small";

pub(super) struct Decoder(DCtx<'static>);

impl Decoder {
    pub(super) fn new() -> Result<Self, DecodeError> {
        DCtx::try_create()
            .map(Self)
            .ok_or(DecodeError::Memory { codec: Codec::Zstd })
    }

    pub(super) fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, DecodeError> {
        self.0.decompress(output, input).map_err(|code| {
            let reason = zstd_safe::get_error_name(code);
            if reason == TOO_SMALL {
                DecodeError::TooLong {
                    codec: Codec::Zstd,
                    limit: output.len(),
                }
            } else {
                DecodeError::Damaged {
                    codec: Codec::Zstd,
                    reason,
                }
            }
        })
    }
}
