//! What is sent with a request: nothing, a text, or a part of a file that is read while it is sent.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes read of a file at a time.
const STEP: u64 = 256 << 10;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// Some bytes; whether they are a secret, which is not to be carried elsewhere.
    Text {
        /// The bytes.
        bytes: Vec<u8>,
        /// A login, or what makes one.
        secret: bool,
    },
    /// A part of a file.
    File(FilePart),
}

/// The first bytes of a file, and how many of them were read for sending.
#[derive(Clone)]
pub(super) struct FilePart {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    /// Counts bytes, of all attempts together.
    pub(super) sent: Arc<AtomicU64>,
}

impl fmt::Debug for FilePart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FilePart({} bytes)", self.size)
    }
}

impl Payload {
    pub(super) fn text(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Text {
            bytes: bytes.into(),
            secret: false,
        }
    }

    pub(super) fn secret(text: String) -> Self {
        Self::Text {
            bytes: text.into_bytes(),
            secret: true,
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Text { secret: true, .. })
    }

    /// Counts what was sent, where that takes time.
    pub(super) fn progress(&self) -> Option<Arc<AtomicU64>> {
        match self {
            Self::Text { .. } => None,
            Self::File(part) => Some(Arc::clone(&part.sent)),
        }
    }
}

impl From<Payload> for reqwest::Body {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Text { bytes, .. } => bytes.into(),
            Payload::File(part) => Self::wrap(Reading { part, at: 0 }),
        }
    }
}

/// A part of a file on its way.
struct Reading {
    part: FilePart,
    at: u64,
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let left = self.part.size.saturating_sub(self.at);
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut bytes = vec![0; usize::try_from(left.min(STEP)).unwrap_or(0)];
        // The page cache has it as a rule: it was read for its digest a moment ago.
        Poll::Ready(Some(match self.part.file.read_at(&mut bytes, self.at) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes.truncate(count);
                self.at += count as u64;
                self.part.sent.fetch_add(count as u64, Relaxed);
                Ok(Frame::data(bytes.into()))
            }
            Err(error) => Err(error),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.part.size.saturating_sub(self.at))
    }
}
