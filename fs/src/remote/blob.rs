//! The bytes of one remote blob: ranges of it, delivered in order, whatever it takes.
//!
//! A read goes on where the last attempt broke off, so that no byte is delivered twice, and each
//! answer must be of the version that the blob was resolved to: its validators, its total length and
//! its place are compared before a byte of it is delivered.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_RANGE, HeaderMap, IF_RANGE, RANGE};
use reqwest::{StatusCode, Url};
use skiff_cache::disk::Fetch;

use super::client::Client;
use super::error::RemoteError;
use super::exchange::judge;
use super::failure::Failure;
use super::figures::{Counters, Figures};
use super::hedge::{Tempo, race};
use super::range::{self, ContentRange};
use super::registry::Place;
use super::resolve::set;
use super::resolved::{Location, Resolved};
use super::roads::{Road, Roads};
use super::transport::Reply;
use super::validator::Validator;

/// As much must come for a read to count as going on; less would let a server that drips keep a
/// reader for ever.
const PROGRESS: u64 = 32 << 10;
/// How long a read waits when the one before has waited in vain.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// A blob on a server.
pub struct RemoteBlob {
    client: Arc<Client>,
    name: String,
    size: u64,
    /// Of a file on a web server; a blob in a registry is named by its digest and cannot change.
    validator: Option<Validator>,
    roads: Roads,
    has_ranges: AtomicBool,
    /// Set once the image was found replaced: no later read can be trusted to fit earlier ones.
    changed: OnceLock<RemoteError>,
    /// How long a read waits for data.
    patience: Duration,
    /// The last read waited that long in vain.
    gave_up: AtomicBool,
    tempo: Tempo,
    counters: Counters,
}

/// Where delivered bytes go.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Why an attempt stopped.
enum Stop {
    /// The network.
    Failure(Failure),
    /// The reader.
    Sink(io::Error),
}

impl<T: Into<Failure>> From<T> for Stop {
    fn from(failure: T) -> Self {
        Self::Failure(failure.into())
    }
}

impl RemoteBlob {
    pub(super) fn new(client: Arc<Client>, resolved: &Resolved) -> Result<Self, RemoteError> {
        let unusable = |reason: String| RemoteError::Unusable {
            url: resolved.reference.clone(),
            reason,
        };
        let (roads, validator) = match &resolved.location {
            Location::Http { url, validator } => {
                let url = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
                let access = client.web_access(&url, None);
                (
                    Roads::new(vec![Road::new(url, access, false)]),
                    Some(validator.clone()),
                )
            }
            Location::Registry {
                registry,
                repository,
                pinned,
                digest,
                ..
            } => {
                let (name, pinned) = (resolved.reference.as_str(), *pinned);
                let place = Place {
                    name,
                    registry,
                    repository,
                    pinned,
                };
                (
                    client.registry_roads(place, &format!("blobs/{digest}"))?,
                    None,
                )
            }
        };
        Ok(Self {
            tempo: Tempo::new(client.options().hedge_after),
            patience: client.options().give_up_after,
            gave_up: AtomicBool::new(false),
            client,
            name: resolved.reference.clone(),
            size: resolved.size,
            validator,
            roads,
            has_ranges: AtomicBool::new(resolved.has_ranges),
            changed: OnceLock::new(),
            counters: Counters::default(),
        })
    }

    /// Waits no longer than this for data.
    pub(super) fn within(self, patience: Duration) -> Self {
        Self {
            patience: self.patience.min(patience),
            ..self
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the server gives parts, as far as is known. If not, each fetch transfers everything up
    /// to its end, and one of `0..size` is the best that can be done.
    pub fn has_ranges(&self) -> bool {
        self.has_ranges.load(Relaxed)
    }

    /// What was asked and what came so far.
    pub fn figures(&self) -> Figures {
        self.counters.figures()
    }

    fn deliver(&self, range: Range<u64>, sink: Sink<'_>) -> io::Result<()> {
        if let Some(error) = self.changed.get() {
            return Err(error.clone().into());
        }
        if self.client.options().offline {
            return Err(RemoteError::Offline {
                name: self.name.clone(),
            }
            .into());
        }
        // A program that goes on after an error should not wait as long for each of a hundred others.
        let gave_up = self.gave_up.load(Relaxed);
        let limit = if gave_up {
            self.patience.min(SHORT_PATIENCE)
        } else {
            self.patience
        };
        let mut patience = self.client.patience(&self.name, limit);
        let mut at = range.start;
        while at < range.end {
            let before = at;
            let stopped = self.attempt(&mut at, range.end, patience.stall(), sink);
            if at - before >= PROGRESS.min(range.end - before) {
                patience.progress();
                self.gave_up.store(false, Relaxed);
            }
            match stopped {
                Ok(()) => {}
                Err(Stop::Sink(error)) => return Err(error),
                Err(Stop::Failure(failure)) => {
                    self.counters.retry();
                    let waited = self.client.block_on(patience.after(failure))?;
                    waited.map_err(|error| self.final_error(error))?;
                }
            }
        }
        Ok(())
    }

    fn final_error(&self, error: RemoteError) -> io::Error {
        if matches!(error, RemoteError::Unreachable { .. }) {
            self.gave_up.store(true, Relaxed);
        }
        if let RemoteError::Changed { url, what } = &error
            && self.changed.set(error.clone()).is_ok()
        {
            self.client.voice().changed(url, what);
        }
        error.into()
    }

    /// Asks once, on all roads, and delivers what comes; `at` says how far that was. The sink is called
    /// on the caller's thread and between two waits, so that it may do what it likes, such as fetch.
    fn attempt(&self, at: &mut u64, end: u64, wait: Duration, sink: Sink<'_>) -> Result<(), Stop> {
        let wanted = *at..end;
        let (mut reply, coming, road) = self.client.block_on(self.open(&wanted, wait))??;
        let mut place = coming.start;
        let mut mark = (Instant::now(), place);
        while place < coming.end && *at < end {
            if place - mark.1 >= PROGRESS {
                mark = (Instant::now(), place);
            } else if mark.0.elapsed() > self.patience {
                return Err(Failure::passing("data comes too slowly").into());
            }
            let broken = |failure| {
                self.roads.broke_off(road);
                Stop::Failure(failure)
            };
            let piece = self.client.block_on(reply.piece(wait))?.map_err(broken)?;
            let piece = piece.ok_or_else(|| {
                broken(Failure::passing(
                    "the connection broke off: the answer is shorter than it says",
                ))
            })?;
            let piece = piece.as_ref();
            self.counters.bytes(piece.len());
            // What lies before the wanted part comes only from servers without ranges; what lies
            // after it should not come at all.
            let skip = usize::try_from(wanted.start.saturating_sub(place)).unwrap_or(usize::MAX);
            let room = usize::try_from(end - *at).unwrap_or(usize::MAX);
            let useful = piece.get(skip..).unwrap_or_default();
            let useful = useful.get(..room).unwrap_or(useful);
            if !useful.is_empty() {
                sink(useful).map_err(Stop::Sink)?;
                *at += useful.len() as u64;
            }
            place += piece.len() as u64;
        }
        Ok(())
    }

    /// Asks on all roads until an answer is right; returns what it brings and the road it came on.
    async fn open(
        &self,
        wanted: &Range<u64>,
        wait: Duration,
    ) -> Result<(Reply, Range<u64>, usize), Failure> {
        let mut headers = HeaderMap::new();
        if *wanted != (0..self.size) {
            set(&mut headers, RANGE, &range::asked(wanted));
            if let Some(validator) = self.validator.as_ref().and_then(Validator::if_range) {
                set(&mut headers, IF_RANGE, validator);
            }
        }
        self.roads
            .first(&self.client, async |index, road| {
                let ask = || {
                    self.counters.request();
                    self.client.get(road, &headers, wait)
                };
                let doubled = || {
                    self.tempo.may_double().then(|| {
                        self.counters.hedge();
                        ask()
                    })
                };
                let reply = race(ask(), self.tempo.late_after(), doubled).await?;
                self.tempo.note(reply.after);
                self.counters.first_byte(reply.after);
                let reply = judge(reply, &self.name, wait).await?;
                let coming = self.check(&reply, wanted)?;
                Ok((reply, coming, index))
            })
            .await
    }

    /// Checks that an answer is about the right version and the right place; returns what it brings.
    fn check(&self, reply: &Reply, wanted: &Range<u64>) -> Result<Range<u64>, Failure> {
        let unusable = |reason: &str| {
            let reason = reason.to_owned();
            Failure::Doubtful(RemoteError::Unusable {
                url: self.name.clone(),
                reason,
            })
        };
        let changed = |what: String| match self.validator {
            Some(_) => Failure::Final(RemoteError::Changed {
                url: self.name.clone(),
                what,
            }),
            None => unusable(&format!(
                "the server has another blob under this digest: {what}"
            )),
        };
        let validator = self.validator.as_ref();
        if let Some(what) = validator.and_then(|it| it.contradiction(reply.headers())) {
            return Err(changed(what));
        }
        let resized = |size: u64| changed(format!("it had {} bytes, now {size}", self.size));
        match reply.status() {
            StatusCode::PARTIAL_CONTENT => {
                let content = reply.header(CONTENT_RANGE).and_then(ContentRange::parse);
                let content = content
                    .ok_or_else(|| unusable("the server sends a part without saying which"))?;
                if let Some(total) = content.total.filter(|&total| total != self.size) {
                    return Err(resized(total));
                }
                let length = content.range.end - content.range.start;
                if !content.answers(wanted) || reply.length().is_some_and(|it| it != length) {
                    return Err(unusable(
                        "the server sends another part than it was asked for",
                    ));
                }
                Ok(content.range)
            }
            StatusCode::OK => {
                if let Some(size) = reply.length().filter(|&size| size != self.size) {
                    return Err(resized(size));
                }
                if *wanted != (0..self.size) && self.has_ranges.swap(false, Relaxed) {
                    self.client.warn(format!(
                        "{}: the server gives no parts of files: everything up to the wanted bytes is transferred",
                        self.name
                    ));
                }
                Ok(0..self.size)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(changed("it became shorter".to_owned())),
            status => Err(unusable(&format!("the server answers {status}"))),
        }
    }
}

impl Fetch for RemoteBlob {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if range.end > self.size || range.start > range.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.deliver(range, sink)
    }
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteBlob")
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
