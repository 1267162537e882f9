//! Decoding ahead of sequential readers.
//!
//! The kernel asks for at most 128 KiB at a time and has few requests in flight, so a reader would
//! wait for each block to be decoded. Reads that follow each other open a window that doubles up to
//! [`MAX_WINDOW_BYTES`]; its blocks are decoded by a few threads into the block cache, where the
//! reads find them. State is a guess per slot of a small table and may be overwritten or lost.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use skiff_cache::waiting;

use crate::tree::{NodeRef, Tree};

/// Streams told apart; a power of two. More readers than this only lose some guesses.
const SLOTS: usize = 64;

/// How far decoding runs ahead: enough to keep all cores busy at 1 MiB blocks, small against the
/// block cache that holds the result.
const MAX_WINDOW_BYTES: u64 = 4 << 20;

/// How far ahead the bytes of an image that is far away are asked for: at 10 Gbit/s and 10 ms there
/// and back, what is on its way is 12 MiB.
const MAX_ANNOUNCED_BYTES: u64 = 32 << 20;

/// First window once a second read follows the first.
const FIRST_WINDOW_BYTES: u64 = 256 << 10;

/// Reads this close behind the expected place still belong to the stream: requests of one reader
/// arrive out of order when several threads serve them.
const SLACK_BYTES: u64 = 512 << 10;

/// Jobs waiting at most; beyond that the readers decode for themselves.
const MAX_QUEUED: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Stream {
    node: NodeRef,
    /// Where the next read is expected.
    next: u64,
    window: u64,
    /// Everything before this is decoded or on the way.
    scheduled: u64,
    /// As `window` and `scheduled`, for what is asked of a network.
    far_window: u64,
    announced: u64,
    /// A read of it had to wait for the network: only then is more of it asked for. Who reads what is
    /// here gets nothing fetched by guesses.
    cold: bool,
}

impl Stream {
    /// What to ask of the network now that a read ends at `end`: nothing while more than half a
    /// window is on its way, so that questions are few and large.
    fn announce(&mut self, end: u64, block: u64) -> Range<u64> {
        let from = self.announced.max(end.next_multiple_of(block));
        if from > self.next.saturating_add(self.far_window / 2) {
            return 0..0;
        }
        self.far_window = (self.far_window * 2).clamp(FIRST_WINDOW_BYTES, MAX_ANNOUNCED_BYTES);
        let until = self
            .next
            .saturating_add(self.far_window)
            .next_multiple_of(block);
        self.announced = until.max(self.announced);
        from..until
    }
}

#[derive(Clone, Copy, Debug)]
struct Job {
    node: NodeRef,
    offset: u64,
    len: u64,
    may_fetch: bool,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    arrived: Condvar,
}

/// Detector of sequential readers and the threads that decode for them.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    streams: Vec<Mutex<Option<Stream>>>,
    queue: Arc<Queue>,
    /// Set where reads may wait for a network.
    far: Option<Arc<dyn Tree>>,
    block: u64,
    enabled: bool,
}

impl ReadAhead {
    /// Starts `workers` threads; with none, or where none can be started, nothing is decoded ahead.
    pub(crate) fn new(tree: &Arc<dyn Tree>, workers: usize) -> Self {
        let queue = Arc::new(Queue::default());
        let block = u64::from(tree.block_size().max(4096));
        let mut enabled = false;
        for number in 0..workers {
            let (queue, tree) = (Arc::clone(&queue), Arc::clone(tree));
            let started = std::thread::Builder::new()
                .name(format!("decode-{number}"))
                .spawn(move || decode(&queue, tree.as_ref()));
            enabled |= started.is_ok();
        }
        let streams = (0..SLOTS).map(|_| Mutex::new(None)).collect();
        Self {
            streams,
            queue,
            far: tree.waits().then(|| Arc::clone(tree)),
            block,
            enabled,
        }
    }

    /// Notes a read of `[offset, offset + len)` and queues what should be decoded behind it.
    pub(crate) fn before_read(&self, node: NodeRef, offset: u64, len: u64) {
        if !self.enabled && self.far.is_none() {
            return;
        }
        let Some(slot) = self.slot(node) else {
            return;
        };
        // A held lock means another read of the same stream is being noted: its guess is as good.
        let Ok(mut stream) = slot.try_lock() else {
            return;
        };
        let end = offset.saturating_add(len);
        let mut far = 0..0;
        let cold;
        let (from, until) = match *stream {
            Some(ref mut known) if known.node == node && is_next(known.next, offset) => {
                known.window = (known.window * 2).clamp(FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES);
                known.next = known.next.max(end);
                let until = known.next.saturating_add(known.window) / self.block * self.block;
                let from = known.scheduled.max(end.next_multiple_of(self.block));
                known.scheduled = known.scheduled.max(until);
                cold = known.cold;
                if self.far.is_some() && cold {
                    far = known.announce(end, self.block);
                }
                (from, until)
            }
            _ => {
                let window = if offset == 0 {
                    FIRST_WINDOW_BYTES / 2
                } else {
                    0
                };
                *stream = Some(Stream {
                    node,
                    next: end,
                    window,
                    scheduled: 0,
                    far_window: 0,
                    announced: 0,
                    cold: false,
                });
                return;
            }
        };
        drop(stream);
        if let Some(tree) = self.far.as_ref().filter(|_| !far.is_empty()) {
            tree.announce(node, far.start, far.end.saturating_sub(far.start));
        }
        if from < until && self.enabled {
            self.enqueue(node, from..until, cold || self.far.is_none());
        }
    }

    /// Notes that a read of `node` had to wait for the network.
    pub(crate) fn was_cold(&self, node: NodeRef) {
        if let Some(mut stream) = self.slot(node).and_then(|slot| slot.try_lock().ok())
            && let Some(known) = stream.as_mut().filter(|known| known.node == node)
        {
            known.cold = true;
        }
    }

    fn slot(&self, node: NodeRef) -> Option<&Mutex<Option<Stream>>> {
        let slot = (node.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % SLOTS;
        self.streams.get(slot)
    }

    fn enqueue(&self, node: NodeRef, range: Range<u64>, may_fetch: bool) {
        let mut jobs = self
            .queue
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Range { start, end: until } = range;
        let mut offset = start;
        while offset < until && jobs.len() < MAX_QUEUED {
            jobs.push_back(Job {
                node,
                offset,
                len: self.block.min(until - offset),
                may_fetch,
            });
            self.queue.arrived.notify_one();
            offset += self.block;
        }
    }
}

fn is_next(expected: u64, offset: u64) -> bool {
    offset <= expected && expected - offset <= SLACK_BYTES
        || offset > expected && offset - expected <= SLACK_BYTES
}

fn decode(queue: &Queue, tree: &dyn Tree) {
    loop {
        let mut jobs = queue.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = loop {
            match jobs.pop_front() {
                Some(job) => break job,
                None => {
                    jobs = queue
                        .arrived
                        .wait(jobs)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(jobs);
        let decode = || tree.prefetch(job.node, job.offset, job.len);
        if job.may_fetch {
            decode();
        } else {
            waiting::forbid(decode);
        }
    }
}
