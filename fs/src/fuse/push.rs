//! Small files put into the page cache before they are asked for.
//!
//! A program that lists a directory and then reads two of its small files (an interpreter that
//! imports modules) will read more of them, and each would cost a round trip while their content
//! lies decoded in the same fragment block. A thread of its own hands them to the kernel
//! (`FUSE_NOTIFY_STORE`), which takes them only for nodes that it knows from the listing.
//!
//! The thread is no session thread: the kernel may make it wait for a page that is just being
//! read, and the read must be answered meanwhile. All that is kept here is a guess, bounded, and
//! may be lost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};

use skiff_cache::waiting;

use super::nodeid::{Node, ViewIndex};
use super::reply::Replier;
use crate::tree::{Attr, FileKind, NodeRef, Segment, Tree};

/// Larger files have their content asked for in requests that are worth their price.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Reads of a listed directory's small files after which the others are pushed. One would be every
/// `cat` of a configuration file.
const READS_TO_START: u32 = 2;

/// Content pushed for one read: a few fragment blocks, so that what is read next comes soon even
/// when most of a large directory is never read.
const MAX_BYTES_PER_READ: u64 = 512 << 10;

/// Files remembered from listings; 40 bytes each.
const MAX_REMEMBERED: usize = 1 << 16;

/// A small file of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SmallFile {
    node: NodeRef,
    bytes: u64,
}

/// A small file that is to be pushed.
#[derive(Clone, Copy, Debug)]
struct Job {
    file: SmallFile,
    /// Where it was: number of the group and place in the listing.
    group: u64,
    place: usize,
    /// Its content may be fetched over a network; otherwise it is pushed only if it is here.
    may_fetch: bool,
}

impl SmallFile {
    /// `node` with `attr`, if it is one.
    pub(super) fn new(node: NodeRef, attr: &Attr) -> Option<Self> {
        let small = attr.kind == FileKind::Regular && (1..=MAX_FILE_BYTES).contains(&attr.size);
        small.then_some(Self {
            node,
            bytes: attr.size,
        })
    }
}

/// Files of one reply to a listing that are neither read nor pushed yet.
#[derive(Debug, Default)]
struct Group {
    files: Vec<Listed>,
    reads: u32,
}

#[derive(Clone, Copy, Debug)]
struct Listed {
    file: SmallFile,
    /// In the listing.
    place: usize,
    /// Its content was not here when it was to be pushed.
    far: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; the number of the first is `first`.
    groups: VecDeque<Group>,
    first: u64,
    group_of: HashMap<NodeRef, u64>,
    queue: VecDeque<Job>,
    /// So many at the end of the queue are new.
    unannounced: usize,
    closed: bool,
}

/// What was listed, and what is to be pushed.
#[derive(Debug, Default)]
pub(super) struct Push {
    state: Mutex<State>,
    arrived: Condvar,
}

impl Push {
    /// Notes files that the kernel has just been told of.
    pub(super) fn listed(&self, files: Vec<SmallFile>) {
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        state.remember(files);
    }

    /// Notes that content of `node` was read from its start, and queues what is likely next. That is
    /// fetched over a network only when `may_fetch`: the reader itself had to wait for one.
    pub(super) fn was_read(&self, node: NodeRef, may_fetch: bool) {
        // Never waits: a guess is not worth a reader's time.
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        if state.choose(node, may_fetch) {
            self.arrived.notify_one();
        }
    }

    /// Ends [`Push::run`].
    pub(super) fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.arrived.notify_one();
    }

    /// Pushes what is queued until closed.
    pub(super) fn run(&self, tree: &dyn Tree, replier: Replier<'_>) {
        let mut segments = Vec::new();
        while let Some(job) = self.next(tree) {
            let Job {
                file, may_fetch, ..
            } = job;
            segments.clear();
            let mut read = || tree.read(file.node, 0, MAX_FILE_BYTES as usize, &mut segments);
            // A file that cannot be read is left to the reader who will hear of it; one that the
            // kernel has forgotten meanwhile (ENOENT) needs no content.
            let done = if may_fetch {
                read()
            } else {
                waiting::forbid(read)
            };
            if done.is_err() && !may_fetch {
                self.state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .put_back(&job);
            }
            let whole = done.is_ok_and(|()| {
                segments
                    .iter()
                    .map(|part| Segment::len(part) as u64)
                    .sum::<u64>()
                    == file.bytes
            });
            if whole {
                let id = Node::Image(ViewIndex::PLAIN, file.node).id();
                let _forgotten = replier.store(id, 0, &segments);
            }
        }
    }

    /// The next file to push. The queue is announced when it is taken up: what is far away comes
    /// while the first file is decoded.
    fn next(&self, tree: &dyn Tree) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                let fresh = std::mem::take(&mut state.unannounced).min(state.queue.len());
                let from = state.queue.len().saturating_sub(fresh);
                let announced: Vec<Job> = state.queue.range(from..).copied().collect();
                drop(state);
                let to_fetch = |next: &&Job| next.may_fetch && tree.waits();
                for next in announced.iter().filter(to_fetch) {
                    tree.announce(next.file.node, 0, next.file.bytes);
                }
                return Some(job);
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn remember(&mut self, mut files: Vec<SmallFile>) {
        // Listed before: what was read or pushed then is in the page cache.
        files.retain(|file| !self.group_of.contains_key(&file.node));
        if files.len() < 2 {
            return;
        }
        let number = self.first + self.groups.len() as u64;
        self.group_of
            .extend(files.iter().map(|file| (file.node, number)));
        let listed = |(place, file)| Listed {
            file,
            place,
            far: false,
        };
        self.groups.push_back(Group {
            files: files.into_iter().enumerate().map(listed).collect(),
            reads: 0,
        });
        while self.group_of.len() > MAX_REMEMBERED {
            let Some(oldest) = self.groups.pop_front() else {
                break;
            };
            self.first += 1;
            for listed in oldest.files {
                self.group_of.remove(&listed.file.node);
            }
        }
    }

    /// Moves the likely next files of `node`'s group to the queue: `true` when there are any.
    fn choose(&mut self, node: NodeRef, may_fetch: bool) -> bool {
        let Some(number) = self.group_of.remove(&node) else {
            return false;
        };
        let first = self.first;
        let Some(group) = position(number, first).and_then(|at| self.groups.get_mut(at)) else {
            return false;
        };
        let is_own = |listed: &Listed| listed.file.node == node;
        let Some(own) = group.files.iter().position(is_own) else {
            return false;
        };
        group.files.remove(own);
        group.reads += 1;
        if group.reads < READS_TO_START {
            return false;
        }
        // Neighbours in the listing are neighbours in the image: first those behind, then those
        // before.
        let before = self.queue.len();
        let mut left = MAX_BYTES_PER_READ;
        let can_come = |listed: &Listed| may_fetch || !listed.far;
        while left > 0 {
            let mut behind = group.files.iter().skip(own);
            let at = match behind.position(can_come) {
                Some(at) => own.saturating_add(at),
                None => match group.files.iter().position(can_come) {
                    Some(at) => at,
                    None => break,
                },
            };
            let Listed { file, place, .. } = group.files.remove(at);
            left = left.saturating_sub(file.bytes);
            self.group_of.remove(&file.node);
            self.queue.push_back(Job {
                file,
                group: number,
                place,
                may_fetch,
            });
            self.unannounced += 1;
        }
        self.queue.len() > before
    }

    /// A file whose content is far away is one of its group again. It is not tried anew before
    /// something may be fetched.
    fn put_back(&mut self, job: &Job) {
        let first = self.first;
        let Some(group) = position(job.group, first).and_then(|at| self.groups.get_mut(at)) else {
            return;
        };
        let at = group.files.partition_point(|it| it.place < job.place);
        let listed = Listed {
            file: job.file,
            place: job.place,
            far: true,
        };
        group.files.insert(at, listed);
        self.group_of.insert(job.file.node, job.group);
    }
}

/// Where the group `number` is if the oldest has the number `first`.
fn position(number: u64, first: u64) -> Option<usize> {
    let at = number.checked_sub(first)?;
    usize::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64, bytes: u64) -> SmallFile {
        SmallFile {
            node: NodeRef::new(number).unwrap(),
            bytes,
        }
    }

    fn queued(state: &mut State) -> Vec<u64> {
        state
            .queue
            .drain(..)
            .map(|job| job.file.node.get())
            .collect()
    }

    #[test]
    fn the_second_read_brings_the_rest_in_order() {
        let mut state = State::default();
        state.remember((0..6).map(|number| file(number, 10)).collect());
        assert!(!state.choose(NodeRef::new(1).unwrap(), true));
        assert!(state.choose(NodeRef::new(3).unwrap(), true));
        assert_eq!(queued(&mut state), [4, 5, 0, 2]);
        assert!(
            !state.choose(NodeRef::new(4).unwrap(), true),
            "pushed already"
        );
        assert!(state.group_of.is_empty());
    }

    #[test]
    fn what_is_far_away_comes_when_something_is_fetched() {
        let mut state = State::default();
        state.remember((0..6).map(|number| file(number, 10)).collect());
        let node = |number| NodeRef::new(number).unwrap();
        state.choose(node(0), false);
        assert!(state.choose(node(1), false));
        for job in std::mem::take(&mut state.queue) {
            if job.file.node.get() != 4 {
                state.put_back(&job);
            }
        }
        // Not at once for the same result.
        assert!(!state.choose(node(3), false));
        assert!(state.choose(node(2), true));
        assert_eq!(
            queued(&mut state),
            [5],
            "4 was pushed, the others were read"
        );
        assert!(state.group_of.is_empty());
    }

    #[test]
    fn a_read_brings_only_so_much() {
        let mut state = State::default();
        state.remember((0..20).map(|number| file(number, MAX_FILE_BYTES)).collect());
        state.choose(NodeRef::new(0).unwrap(), true);
        assert!(state.choose(NodeRef::new(1).unwrap(), true));
        assert_eq!(queued(&mut state), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(state.choose(NodeRef::new(19).unwrap(), true));
        assert_eq!(queued(&mut state), [10, 11, 12, 13, 14, 15, 16, 17]);
    }

    #[test]
    fn old_listings_are_forgotten() {
        let mut state = State::default();
        for group in 0..100 {
            state.remember(
                (0..1000)
                    .map(|number| file(group * 1000 + number, 1))
                    .collect(),
            );
        }
        assert!(state.group_of.len() <= MAX_REMEMBERED);
        assert!(
            !state.choose(NodeRef::new(5).unwrap(), true),
            "of the first group"
        );
        state.choose(NodeRef::new(99_000).unwrap(), true);
        assert!(state.choose(NodeRef::new(99_001).unwrap(), true));
    }

    #[test]
    fn lone_files_and_repeated_listings_change_nothing() {
        let mut state = State::default();
        state.remember(vec![file(1, 1)]);
        state.remember(vec![file(2, 1), file(3, 1)]);
        state.remember(vec![file(2, 1), file(3, 1)]);
        assert_eq!(state.groups.len(), 1);
    }
}
