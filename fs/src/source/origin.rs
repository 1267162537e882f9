//! Where bytes that are not near come from, as the cache in front sees it.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use skiff_cache::disk::Fetch;

use crate::remote::RemoteBlob;
use crate::remote::digests::{self, ChunkDigests, Verified};

/// Upper ends of the latency classes in milliseconds; what takes longer falls into one more.
pub const LATENCY_CLASSES_MS: [u64; 9] = [1, 2, 5, 10, 25, 100, 500, 2_000, 10_000];

/// What was asked of an origin so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct OriginFigures {
    /// Questions, repeated ones included.
    pub requests: u64,
    /// Bytes of content that came.
    pub bytes: u64,
    /// Questions that were asked again.
    pub retries: u64,
}

impl std::ops::Add for OriginFigures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bytes: self.bytes.saturating_add(other.bytes),
            retries: self.retries.saturating_add(other.retries),
        }
    }
}

/// The far end of a cached source.
pub trait Origin: Fetch + fmt::Debug {
    /// Whether a part can be had without what lies before it.
    fn has_ranges(&self) -> bool {
        true
    }

    /// Bytes that come together at least: asking for less costs as much. A power of two.
    fn unit(&self) -> u64 {
        1
    }

    /// Whether what comes has been compared with a digest of its own.
    fn is_verified(&self) -> bool {
        false
    }

    /// Counters since the origin was opened.
    fn figures(&self) -> OriginFigures;
}

/// Times between question and answer, by class.
#[derive(Debug, Default)]
pub struct Latencies([AtomicU64; LATENCY_CLASSES_MS.len() + 1]);

impl Latencies {
    /// Notes a wait that began at `start` and ends now.
    pub fn note(&self, start: Instant) {
        let taken = start.elapsed().as_millis();
        let class = LATENCY_CLASSES_MS
            .iter()
            .position(|end| taken < u128::from(*end))
            .unwrap_or(LATENCY_CLASSES_MS.len());
        if let Some(class) = self.0.get(class) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits per class: one number for each of [`LATENCY_CLASSES_MS`] and one for the longer ones.
    pub fn counts(&self) -> [u64; LATENCY_CLASSES_MS.len() + 1] {
        self.0.each_ref().map(|class| class.load(Ordering::Relaxed))
    }
}

/// A file on a network or parallel file system. Its bytes are believed to be those of the file that
/// was opened for as long as size and modification time stay the same.
#[derive(Debug)]
pub struct FileOrigin {
    file: File,
    name: String,
    size: u64,
    modified: (i64, i64),
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// Bytes read at a time: the largest transfer that common parallel file systems make in one go.
const PIECE_BYTES: usize = 1 << 20;

impl FileOrigin {
    /// Takes over `file`; `name` is for messages.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn new(file: File, name: String) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            name,
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            file,
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// What tells these bytes from all others on this machine.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub fn identity(&self) -> io::Result<String> {
        let metadata = self.file.metadata()?;
        Ok(format!(
            "file {}:{} {} {}.{} {}",
            metadata.dev(),
            metadata.ino(),
            self.size,
            self.modified.0,
            self.modified.1,
            self.name,
        ))
    }

    fn check_unchanged(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        if (metadata.size(), (metadata.mtime(), metadata.mtime_nsec()))
            == (self.size, self.modified)
        {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} was changed while it is in use; start the container anew",
            self.name
        )))
    }
}

impl Fetch for FileOrigin {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(left);
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            let read = self.file.read_exact_at(piece, at);
            // After the read, so that nothing new is taken for old.
            self.check_unchanged()?;
            read?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(wanted as u64, Ordering::Relaxed);
            sink(piece)?;
            at = at.saturating_add(wanted as u64);
        }
        Ok(())
    }
}

impl Origin for FileOrigin {
    fn figures(&self) -> OriginFigures {
        OriginFigures {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            retries: 0,
        }
    }
}

/// A blob whose parts are compared with published digests of theirs when they come.
#[derive(Debug)]
pub struct VerifiedOrigin {
    blob: Arc<RemoteBlob>,
    verified: Verified,
}

impl VerifiedOrigin {
    /// Holds `blob` to `digests`.
    pub fn new(blob: Arc<RemoteBlob>, digests: Arc<ChunkDigests>) -> Self {
        Self {
            verified: Verified::new(Arc::clone(&blob) as _, digests),
            blob,
        }
    }
}

impl Fetch for VerifiedOrigin {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.verified.fetch(range, sink)
    }
}

impl Origin for VerifiedOrigin {
    fn has_ranges(&self) -> bool {
        self.blob.has_ranges()
    }

    fn unit(&self) -> u64 {
        digests::CHUNK
    }

    fn is_verified(&self) -> bool {
        true
    }

    fn figures(&self) -> OriginFigures {
        Origin::figures(&*self.blob)
    }
}

impl Origin for RemoteBlob {
    fn has_ranges(&self) -> bool {
        RemoteBlob::has_ranges(self)
    }

    fn figures(&self) -> OriginFigures {
        let figures = RemoteBlob::figures(self);
        OriginFigures {
            requests: figures.requests,
            bytes: figures.bytes,
            retries: figures.retries,
        }
    }
}
