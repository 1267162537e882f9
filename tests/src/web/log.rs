//! What a server was asked and what it sent.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One request that was answered, or is being answered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// `Host`, as sent.
    pub host: String,
    /// `Authorization`, as sent.
    pub authorization: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// The piece of an image that the answer has as its body.
    pub part: Option<Range<u64>>,
    /// What went wrong on purpose.
    pub fault: Option<String>,
    /// When it came.
    pub at: Instant,
    sent: Arc<AtomicU64>,
}

impl Entry {
    /// An entry of now.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            host: String::new(),
            authorization: None,
            status: 0,
            part: None,
            fault: None,
            at: Instant::now(),
            sent: Arc::default(),
        }
    }

    /// How many bytes of the body were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// More of the body was sent.
    pub fn add(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The bytes of an image that were sent.
    pub fn data(&self) -> Option<Range<u64>> {
        let part = self.part.as_ref()?;
        (self.sent() > 0).then(|| part.start..part.start + self.sent())
    }
}

/// All requests of a server, in the order of their coming.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Entry>>>);

impl Log {
    /// Adds one.
    pub fn push(&self, entry: Entry) {
        self.lock().push(entry);
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// All so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were answered with bytes of an image.
    pub fn data_requests(&self) -> usize {
        let entries = self.lock();
        entries.iter().filter(|it| it.data().is_some()).count()
    }

    /// How many bytes of images were sent, repetitions included.
    pub fn data_bytes(&self) -> u64 {
        let entries = self.lock();
        let data = entries.iter().filter_map(Entry::data);
        data.map(|range| range.end - range.start).sum()
    }

    /// How many bytes of images were sent again.
    pub fn repeated_bytes(&self) -> u64 {
        let (mut reached, mut again) = (0, 0);
        for (range, _) in self.by_place() {
            again += range.end.min(reached).saturating_sub(range.start);
            reached = reached.max(range.end);
        }
        again
    }

    /// The requests among which are those that brought the same bytes again, for the report of a
    /// failed test.
    pub fn repeated(&self) -> Self {
        let found = self.by_place();
        let overlap =
            |one: &Range<u64>, other: &Range<u64>| one.start < other.end && other.start < one.end;
        let among = |index: usize, range: &Range<u64>| {
            let mut others = found.iter().enumerate();
            others.any(|(other, (it, _))| other != index && overlap(it, range))
        };
        let mut entries: Vec<Entry> = found
            .iter()
            .enumerate()
            .filter(|(index, (range, _))| among(*index, range))
            .map(|(_, (_, entry))| entry.clone())
            .collect();
        entries.sort_by_key(|entry| entry.at);
        Self(Arc::new(Mutex::new(entries)))
    }

    fn by_place(&self) -> Vec<(Range<u64>, Entry)> {
        let entries = self.entries();
        let mut found: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| Some((entry.data()?, entry)))
            .collect();
        found.sort_by_key(|(range, _)| range.start);
        found
    }

    /// How many requests were for a path of which `wanted` says yes.
    pub fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.lock().iter().filter(|entry| wanted(entry)).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line a request, for the report of a failed test.
impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.entries();
        let first = entries.first().map(|entry| entry.at);
        for entry in &entries {
            let since = first.map_or(0.0, |first| (entry.at - first).as_secs_f64());
            let (method, path) = (&entry.method, &entry.path);
            write!(f, "  {since:8.3} {method} {path} {}", entry.status)?;
            if let Some(part) = &entry.part {
                write!(f, " {}..{}", part.start, part.end)?;
            }
            write!(f, " sent {}", entry.sent())?;
            if let Some(fault) = &entry.fault {
                write!(f, " ({fault})")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
