//! Bytes with an identity: an image as a server has it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::request::{Answer, Body, Request};

/// An image on a server. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct Content {
    bytes: Bytes,
    /// How long it is.
    pub size: u64,
    /// Its strong validator, quotes included; `None`: the server has none.
    pub etag: Option<String>,
    /// When it last changed.
    pub modified: Option<SystemTime>,
    /// What the server calls it.
    pub media_type: &'static str,
}

#[derive(Clone, Debug)]
enum Bytes {
    File(Arc<File>),
    Memory(Arc<[u8]>),
}

impl Content {
    /// A file as it is now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let modified = meta.modified()?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            size: meta.len(),
            etag: Some(format!("\"{:x}-{:x}\"", since.as_nanos(), meta.len())),
            modified: Some(modified),
            media_type: "application/octet-stream",
            bytes: Bytes::File(Arc::new(file)),
        })
    }

    /// These bytes.
    pub fn memory(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        Self {
            size: bytes.len() as u64,
            etag: Some(format!("\"m-{:x}\"", bytes.len())),
            modified: Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            media_type: "application/octet-stream",
            bytes: Bytes::Memory(bytes),
        }
    }

    /// With another strong validator, or without any.
    #[must_use]
    pub fn with_etag(mut self, etag: Option<&str>) -> Self {
        self.etag = etag.map(|etag| format!("\"{etag}\""));
        self
    }

    /// Changed at another time.
    #[must_use]
    pub fn with_modified(mut self, modified: Option<SystemTime>) -> Self {
        self.modified = modified;
        self
    }

    /// Reads a piece; short at the end.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.bytes {
            Bytes::File(file) => file.read_at(buffer, offset),
            Bytes::Memory(bytes) => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let len = buffer.len().min(bytes.len() - from);
                buffer[..len].copy_from_slice(&bytes[from..from + len]);
                Ok(len)
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut out = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < out.len() {
            match self.read(&mut out[filled..], filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(out)
    }

    /// What a proper server says when asked for it (RFC 9110: 13, 14).
    pub fn answer(&self, request: &Request) -> Answer {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Answer::text(405, "look, do not touch");
        }
        let modified = self.modified.map(httpdate::fmt_http_date);
        let same = |header: &str| {
            let asked = request.header(header);
            asked.is_some() && (asked == self.etag.as_deref() || asked == modified.as_deref())
        };
        let all = 0..self.size;
        let mut answer = if same("if-none-match") {
            Answer {
                status: 304,
                headers: Vec::new(),
                body: Body::Bytes(Vec::new()),
            }
        } else {
            // A range of something else is of no use: then all of what is here now.
            let current = request.header("if-range").is_none() || same("if-range");
            match request.range(self.size).filter(|_| current) {
                None => self.part(200, all),
                Some(range) if range.is_empty() => Answer::text(416, "no such bytes")
                    .with("Content-Range", format!("bytes */{}", self.size)),
                Some(range) => {
                    let place = place(&range, self.size);
                    self.part(206, range).with("Content-Range", place)
                }
            }
        };
        if let Some(etag) = &self.etag {
            answer = answer.with("ETag", etag);
        }
        if let Some(modified) = &modified {
            answer = answer.with("Last-Modified", modified);
        }
        answer.with("Accept-Ranges", "bytes")
    }

    fn part(&self, status: u16, range: Range<u64>) -> Answer {
        let answer = Answer {
            status,
            headers: Vec::new(),
            body: Body::Part(self.clone(), range),
        };
        answer.with("Content-Type", self.media_type)
    }
}

/// The value of `Content-Range`.
pub fn place(range: &Range<u64>, size: u64) -> String {
    format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    )
}
