//! Several blobs read from start to end, one after the other, faster than one connection brings them:
//! pieces are fetched ahead by several, and memory holds no more than a window of them.
//!
//! ```text
//! blob 0          blob 1                     threads take the next piece of all,
//! [p][p][p][p]    [p][p][p][p][p][p]…        within the window in front of the reader
//!      ▲ reader         └ window ┘
//! ```
//! What a thread fetches goes on after a cut, as all reads of a blob do.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use skiff_cache::disk::Fetch;

use super::blob::RemoteBlob;
use super::digest::{Digest, Hasher};
use super::error::RemoteError;
use super::resolved::Resolved;

/// Bytes of a piece: enough that a request pays.
const PIECE: u64 = 8 << 20;
/// Pieces that are fetched or wait for the reader, at most.
const WINDOW: usize = 24;
/// Connections.
const THREADS: usize = 6;

/// A source of one blob's bytes.
trait Bytes: Send + Sync {
    fn size(&self) -> u64;
    /// Whether parts are to be had without all that lies before them.
    fn has_parts(&self) -> bool;
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()>;
}

impl Bytes for RemoteBlob {
    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn has_parts(&self) -> bool {
        self.has_ranges()
    }

    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        Fetch::fetch(self, range, sink)
    }
}

/// Blobs that are being fetched in order.
pub struct Download {
    shared: Arc<Shared>,
}

struct Shared {
    blobs: Vec<Arc<dyn Bytes>>,
    state: Mutex<State>,
    /// Something arrived, or room was made.
    changed: Condvar,
    /// A server gave a part that was asked for: they all come from one.
    gives_parts: AtomicBool,
    count: Box<dyn Fn(usize, u64) + Send + Sync>,
}

struct State {
    /// The next piece to be taken by a thread: blob and offset.
    next: (usize, u64),
    /// Pieces taken and not read yet, in the order of the blobs.
    pieces: VecDeque<Piece>,
    /// The reader of this many blobs, and those before, is gone or at its end.
    finished: usize,
    over: bool,
}

struct Piece {
    blob: usize,
    range: Range<u64>,
    content: Content,
}

enum Content {
    Coming,
    Here(Vec<u8>),
    Failed(io::Error),
}

impl Download {
    /// Starts to fetch `blobs`, which will be read in this order. `count` is told of bytes as they
    /// come, by the number of the blob.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        blobs: Vec<Arc<RemoteBlob>>,
        count: impl Fn(usize, u64) + Send + Sync + 'static,
    ) -> io::Result<Vec<DownloadReader>> {
        let blobs = blobs
            .into_iter()
            .map(|blob| blob as Arc<dyn Bytes>)
            .collect();
        Self::of(blobs, Box::new(count))
    }

    /// Writes all of `blob`, which is what `resolved` says, to `file`; compares it with its digest if
    /// there is one. Returns the digest, sha256 if nobody promised another.
    ///
    /// # Errors
    /// What the network or the file reports; content that does not fit its digest.
    pub fn save(
        blob: Arc<RemoteBlob>,
        resolved: &Resolved,
        file: &File,
        count: impl Fn(usize, u64) + Send + Sync + 'static,
    ) -> io::Result<Digest> {
        let promised = resolved.digest.as_deref().map(str::parse::<Digest>);
        let promised = promised.transpose().map_err(io::Error::other)?;
        let mut readers = Self::start(vec![blob], count)?;
        let mut hasher = Hasher::for_digest(promised.as_ref());
        let mut file = file;
        for reader in &mut readers {
            while let Some(piece) = reader.next_piece()? {
                hasher.add(&piece);
                file.write_all(&piece)?;
            }
        }
        let found = hasher.finish();
        match promised {
            Some(promised) if promised != found => Err(RemoteError::Mismatch {
                url: resolved.reference.clone(),
                digest: promised.to_string(),
            }
            .into()),
            _ => Ok(found),
        }
    }

    fn of(
        blobs: Vec<Arc<dyn Bytes>>,
        count: Box<dyn Fn(usize, u64) + Send + Sync>,
    ) -> io::Result<Vec<DownloadReader>> {
        let number = blobs.len();
        let shared = Arc::new(Shared {
            blobs,
            state: Mutex::new(State {
                next: (0, 0),
                pieces: VecDeque::new(),
                finished: 0,
                over: false,
            }),
            changed: Condvar::new(),
            gives_parts: AtomicBool::new(false),
            count,
        });
        let download = Arc::new(Self {
            shared: Arc::clone(&shared),
        });
        let pieces: u64 = (0..number).map(|blob| shared.pieces_of(blob)).sum();
        let threads = THREADS.min(usize::try_from(pieces).unwrap_or(THREADS));
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("skiff-fetch".into())
                .spawn(move || shared.work())?;
        }
        Ok((0..number)
            .map(|blob| DownloadReader {
                download: Arc::clone(&download),
                blob,
                at: 0,
                piece: Vec::new(),
                within: 0,
            })
            .collect())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self, blob: usize) -> u64 {
        self.blobs.get(blob).map_or(0, |blob| blob.size())
    }

    fn pieces_of(&self, blob: usize) -> u64 {
        self.size(blob).div_ceil(PIECE)
    }

    /// A thread's life.
    fn work(&self) {
        while let Some((blob, range)) = self.take() {
            let Some(bytes) = self.blobs.get(blob) else {
                return;
            };
            self.bring(&**bytes, blob, range.clone());
            if range.start == 0 && range.end < bytes.size() {
                if bytes.has_parts() {
                    self.gives_parts.store(true, Ordering::Relaxed);
                } else {
                    self.bring_rest(&**bytes, blob);
                }
            }
        }
    }

    /// The next piece, when there is room for it; `None` when there are no more.
    fn take(&self) -> Option<(usize, Range<u64>)> {
        let mut state = self.lock();
        loop {
            if state.over {
                return None;
            }
            while state.next.0 < state.finished || state.next.1 >= self.size(state.next.0) {
                if state.next.0 >= self.blobs.len() {
                    return None;
                }
                state.next = (state.next.0 + 1, 0);
            }
            let (blob, start) = state.next;
            // Whether there are parts at all shows with the first piece.
            let is_unsure = start == PIECE
                && !self.gives_parts.load(Ordering::Relaxed)
                && state
                    .pieces
                    .iter()
                    .any(|piece| piece.blob == blob && piece.range.start == 0 && piece.is_coming());
            if state.pieces.len() < WINDOW && !is_unsure {
                let end = start.saturating_add(PIECE).min(self.size(blob));
                state.next.1 = end;
                state.pieces.push_back(Piece {
                    blob,
                    range: start..end,
                    content: Content::Coming,
                });
                return Some((blob, start..end));
            }
            state = self.wait(state);
        }
    }

    fn bring(&self, bytes: &dyn Bytes, blob: usize, range: Range<u64>) {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let mut content = Vec::with_capacity(length);
        let done = bytes.fetch(range.clone(), &mut |piece| {
            if self.lock().is_unwanted(blob) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            (self.count)(blob, piece.len() as u64);
            content.extend_from_slice(piece);
            Ok(())
        });
        let content = match done {
            Ok(()) if content.len() == length => Content::Here(content),
            Ok(()) => Content::Failed(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Content::Failed(error),
        };
        self.put(blob, range.start, content);
    }

    fn put(&self, blob: usize, start: u64, content: Content) {
        let mut state = self.lock();
        let mut pieces = state.pieces.iter_mut();
        if let Some(piece) = pieces.find(|piece| piece.blob == blob && piece.range.start == start) {
            piece.content = content;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// All that nobody took of a blob whose server gives no parts, in one go.
    fn bring_rest(&self, bytes: &dyn Bytes, blob: usize) {
        let mut state = self.lock();
        if state.next.0 != blob {
            return;
        }
        let (size, mut start) = (bytes.size(), state.next.1);
        state.next.1 = size;
        drop(state);
        let mut content: Vec<u8> = Vec::new();
        let mut place: Option<Range<u64>> = None;
        let done = bytes.fetch(start..size, &mut |mut piece| {
            (self.count)(blob, piece.len() as u64);
            while !piece.is_empty() {
                let range = match &place {
                    Some(range) => range.clone(),
                    None => {
                        let range = start..start.saturating_add(PIECE).min(size);
                        self.claim(blob, range.clone())?;
                        place.insert(range).clone()
                    }
                };
                let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let (now, later) = piece
                    .split_at_checked(length - content.len())
                    .unwrap_or((piece, &[]));
                content.extend_from_slice(now);
                piece = later;
                if content.len() == length {
                    self.put(
                        blob,
                        range.start,
                        Content::Here(std::mem::take(&mut content)),
                    );
                    start = range.end;
                    place = None;
                }
            }
            Ok(())
        });
        let failure = match done {
            Ok(()) if start == size => return,
            Ok(()) => io::ErrorKind::UnexpectedEof.into(),
            Err(error) => error,
        };
        if place.is_none() && self.claim(blob, start..size).is_err() {
            return;
        }
        self.put(blob, start, Content::Failed(failure));
    }

    /// Waits for room for a piece of a blob.
    fn claim(&self, blob: usize, range: Range<u64>) -> io::Result<()> {
        let mut state = self.lock();
        loop {
            if state.is_unwanted(blob) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Pieces of later blobs must not take all of the room.
            let before = state.pieces.iter().filter(|piece| piece.blob <= blob);
            if before.count() < WINDOW {
                break;
            }
            state = self.wait(state);
        }
        state.pieces.push_back(Piece {
            blob,
            range,
            content: Content::Coming,
        });
        Ok(())
    }
}

impl State {
    fn is_unwanted(&self, blob: usize) -> bool {
        self.over || blob < self.finished
    }
}

impl Piece {
    fn is_coming(&self) -> bool {
        matches!(self.content, Content::Coming)
    }
}

/// The bytes of one blob of a [`Download`]. Reading a later blob gives up those before it.
pub struct DownloadReader {
    download: Arc<Download>,
    blob: usize,
    /// Offset of what follows `piece`.
    at: u64,
    piece: Vec<u8>,
    within: usize,
}

impl DownloadReader {
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let shared = &self.download.shared;
        if self.at >= shared.size(self.blob) {
            return Ok(None);
        }
        let mut state = shared.lock();
        if state.finished < self.blob {
            state.give_up(self.blob);
            shared.changed.notify_all();
        }
        loop {
            let found = state.pieces.iter().position(|piece| {
                piece.blob == self.blob && piece.range.start == self.at && !piece.is_coming()
            });
            match found.and_then(|index| state.pieces.remove(index)) {
                Some(piece) => {
                    drop(state);
                    shared.changed.notify_all();
                    self.at = piece.range.end;
                    return match piece.content {
                        Content::Here(bytes) => Ok(Some(bytes)),
                        Content::Failed(error) => Err(error),
                        Content::Coming => Ok(None),
                    };
                }
                None if state.is_unwanted(self.blob) => {
                    return Err(io::Error::other("the download was given up"));
                }
                None => state = shared.wait(state),
            }
        }
    }
}

impl State {
    /// Lets go of all blobs before `blob`.
    fn give_up(&mut self, blob: usize) {
        self.finished = self.finished.max(blob);
        let finished = self.finished;
        self.pieces.retain(|piece| piece.blob >= finished);
    }
}

impl Read for DownloadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.within >= self.piece.len() {
            match self.next_piece()? {
                Some(piece) => (self.piece, self.within) = (piece, 0),
                None => return Ok(0),
            }
        }
        let rest = self.piece.get(self.within..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.within += length;
        Ok(length)
    }
}

impl Drop for DownloadReader {
    fn drop(&mut self) {
        let shared = &self.download.shared;
        shared.lock().give_up(self.blob.saturating_add(1));
        shared.changed.notify_all();
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Download").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DownloadReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DownloadReader")
            .field("blob", &self.blob)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    struct Fake {
        size: u64,
        parts: AtomicBool,
        transferred: AtomicU64,
        breaks_at: u64,
    }

    fn byte(at: u64) -> u8 {
        (at >> 10) as u8 ^ at as u8
    }

    impl Bytes for Fake {
        fn size(&self) -> u64 {
            self.size
        }

        fn has_parts(&self) -> bool {
            self.parts.load(Ordering::Relaxed)
        }

        fn fetch(
            &self,
            range: Range<u64>,
            sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        ) -> io::Result<()> {
            let mut at = range.start;
            while at < range.end {
                if at >= self.breaks_at {
                    return Err(io::Error::other("broken"));
                }
                let end = range.end.min(at + 1_000_003);
                let bytes: Vec<u8> = (at..end).map(byte).collect();
                self.transferred.fetch_add(end - at, Ordering::Relaxed);
                sink(&bytes)?;
                at = end;
            }
            Ok(())
        }
    }

    fn fake(size: u64, parts: bool, breaks_at: u64) -> Arc<Fake> {
        Arc::new(Fake {
            size,
            parts: AtomicBool::new(parts),
            transferred: AtomicU64::new(0),
            breaks_at,
        })
    }

    fn readers(fakes: &[Arc<Fake>]) -> Vec<DownloadReader> {
        let blobs = fakes
            .iter()
            .map(|fake| Arc::clone(fake) as Arc<dyn Bytes>)
            .collect();
        Download::of(blobs, Box::new(|_, _| {})).unwrap()
    }

    #[test]
    fn all_bytes_come_in_order() {
        for parts in [true, false] {
            let sizes = [0, 1, PIECE, PIECE + 1, 5 * PIECE + 7, 3];
            let fakes: Vec<_> = sizes.map(|size| fake(size, parts, u64::MAX)).into();
            for (reader, size) in readers(&fakes).iter_mut().zip(sizes) {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap();
                assert_eq!(all.len() as u64, size);
                assert!((0..).zip(&all).all(|(at, found)| byte(at) == *found));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_what_nobody_reads_is_not_fetched() {
        let large = fake(40 * PIECE, true, u64::MAX);
        let mut both = readers(&[Arc::clone(&large), fake(9, true, u64::MAX)]);
        let mut second = both.pop().unwrap();
        let mut some = [0; 100];
        both[0].read_exact(&mut some).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let most = (WINDOW + THREADS + 1) as u64 * PIECE;
        assert!(large.transferred.load(Ordering::Relaxed) <= most);
        both.clear();
        let mut all = Vec::new();
        second.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn errors_come_where_they_happen() {
        for parts in [true, false] {
            let mut reader = readers(&[fake(4 * PIECE, parts, 3 * PIECE)]).remove(0);
            let mut all = Vec::new();
            let error = reader.read_to_end(&mut all).unwrap_err();
            assert_eq!(error.to_string(), "broken");
            assert!(all.len() as u64 >= 2 * PIECE && all.len() as u64 <= 3 * PIECE);
        }
    }
}
