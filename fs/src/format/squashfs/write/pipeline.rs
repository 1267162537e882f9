//! The threads: some that pack blocks, and one that writes them in the order they were handed in.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::decompress;
use crate::pack::SinkError;

use super::compress::Packer;
use super::options::WriteOptions;
use super::output::{Output, Written};

/// Blocks in flight: so many for each thread, and some for reading and writing.
const PER_THREAD: usize = 4;
const MORE: usize = 16;

/// What a block is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Of a file.
    Data,
    Fragment,
    /// Of a file, and packed already: only decoded, to see that it can be.
    Packed,
    /// Of a file, and known not to get smaller.
    Stored,
}

/// A block on its way to the file.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) purpose: Purpose,
    pub(super) raw: Vec<u8>,
    /// Starts with the packed block.
    pub(super) packed: Vec<u8>,
    /// Its length; nothing when `raw` is to be stored.
    pub(super) len: Option<usize>,
}

/// What the writing thread is told.
#[derive(Debug)]
pub(super) enum Step {
    Block(Block),
    /// So many blocks of zeros.
    Holes(u64),
    /// A run of blocks, those of one file, is complete.
    EndOfRun,
    /// Here begins what an access profile names.
    Profile,
}

#[derive(Debug)]
struct Job {
    number: u64,
    purpose: Purpose,
    /// The block; packed if that is its purpose.
    raw: Vec<u8>,
    /// Length of what it decodes to.
    len: usize,
}

/// What the threads share. `steps` are in order; those without a value are being packed.
#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Option<Step>>,
    /// Number of the first of `steps`.
    first: u64,
    jobs: VecDeque<Job>,
    spare: Vec<Vec<u8>>,
    /// Nothing more comes.
    closed: bool,
    /// A thread has failed, or the result is not wanted.
    aborted: bool,
    /// Why, when the caller is to know.
    failure: Option<SinkError>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is a job, or no more of them.
    work: Condvar,
    /// The first step can be taken.
    ready: Condvar,
    /// A step has been taken.
    room: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No thread leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort(&self) {
        self.lock().aborted = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.ready.notify_all();
        self.room.notify_all();
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition
        .wait(state)
        .unwrap_or_else(PoisonError::into_inner)
}

/// The caller's end.
#[derive(Debug)]
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    window: usize,
    workers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Result<Written, SinkError>>>,
}

impl Pipeline {
    pub(super) fn start(options: &WriteOptions, output: Output) -> io::Result<Self> {
        let threads = match options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let shared = Arc::new(Shared::default());
        let mut pipeline = Self {
            shared: Arc::clone(&shared),
            window: threads * PER_THREAD + MORE,
            workers: Vec::with_capacity(threads),
            writer: None,
        };
        let name = || thread::Builder::new().name("squashfs".to_owned());
        for _ in 0..threads {
            let packer = Packer::new(options)?;
            let (shared, options) = (Arc::clone(&shared), *options);
            let worker = name().spawn(move || work(&shared, packer, &options))?;
            pipeline.workers.push(worker);
        }
        let writer = name().spawn(move || write(&shared, output))?;
        pipeline.writer = Some(writer);
        Ok(pipeline)
    }

    /// An empty buffer, used before where there is one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.shared.lock().spare.pop().unwrap_or_default()
    }

    /// Takes back a buffer.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        recycle(&mut self.shared.lock(), buffer);
    }

    /// Hands in a block.
    pub(super) fn pack(&mut self, purpose: Purpose, raw: Vec<u8>) -> Result<(), SinkError> {
        let len = raw.len();
        self.take_over(purpose, raw, len)
    }

    /// Hands in a block that decodes to `len` bytes.
    pub(super) fn take_over(
        &mut self,
        purpose: Purpose,
        raw: Vec<u8>,
        len: usize,
    ) -> Result<(), SinkError> {
        let mut state = self.room()?;
        let number = state.first + state.steps.len() as u64;
        state.steps.push_back(None);
        state.jobs.push_back(Job {
            number,
            purpose,
            raw,
            len,
        });
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Hands in `count` blocks of zeros.
    pub(super) fn holes(&mut self, count: u64) -> Result<(), SinkError> {
        if count > 0 {
            self.step(Step::Holes(count))?;
        }
        Ok(())
    }

    /// Says that the blocks handed in since the last call are all of one file.
    pub(super) fn end_of_run(&mut self) -> Result<(), SinkError> {
        self.step(Step::EndOfRun)
    }

    /// Says that from here on everything is named by an access profile.
    pub(super) fn begin_profile(&mut self) -> Result<(), SinkError> {
        self.step(Step::Profile)
    }

    fn step(&mut self, step: Step) -> Result<(), SinkError> {
        let mut state = self.room()?;
        state.steps.push_back(Some(step));
        let first = state.steps.len() == 1;
        drop(state);
        if first {
            self.shared.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until a step can be added.
    fn room(&mut self) -> Result<MutexGuard<'_, State>, SinkError> {
        if self.shared.lock().aborted {
            return Err(self.failure());
        }
        let mut state = self.shared.lock();
        while state.steps.len() >= self.window && !state.aborted {
            state = wait(&self.shared.room, state);
        }
        // A failure from here on is seen by the next call.
        Ok(state)
    }

    /// Waits until all is written.
    pub(super) fn finish(&mut self) -> Result<Written, SinkError> {
        self.shared.lock().closed = true;
        self.shared.wake_all();
        let written = self.join().unwrap_or_else(|| Err(lost()));
        match self.shared.lock().failure.take() {
            Some(failure) => Err(failure),
            None => written,
        }
    }

    fn failure(&mut self) -> SinkError {
        let joined = self.join();
        match (self.shared.lock().failure.take(), joined) {
            (Some(failure), _) | (None, Some(Err(failure))) => failure,
            (None, Some(Ok(_)) | None) => lost(),
        }
    }

    fn join(&mut self) -> Option<Result<Written, SinkError>> {
        let written = self
            .writer
            .take()
            .map(|writer| writer.join().unwrap_or_else(|_| Err(lost())));
        for worker in self.workers.drain(..) {
            // One that panicked has aborted the others.
            worker.join().unwrap_or_default();
        }
        written
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.abort();
        drop(self.join());
    }
}

fn lost() -> SinkError {
    super::write_error(io::Error::other("a thread that packs blocks has failed"))
}

/// Aborts when its thread panics, since the others would wait for it.
struct Watch<'a>(&'a Shared);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abort();
        }
    }
}

fn recycle(state: &mut State, mut buffer: Vec<u8>) {
    buffer.clear();
    state.spare.push(buffer);
}

/// What a worker does.
fn work(shared: &Shared, mut packer: Packer, options: &WriteOptions) {
    let _watch = Watch(shared);
    let mut packed = Vec::new();
    loop {
        let mut state = shared.lock();
        let job = loop {
            if state.aborted {
                return;
            }
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.closed {
                return;
            }
            state = wait(&shared.work, state);
        };
        drop(state);
        let block = match made(&job, &mut packer, options, &mut packed) {
            Ok(None) if job.purpose == Purpose::Packed => Block {
                purpose: Purpose::Data,
                len: Some(job.raw.len()),
                packed: job.raw,
                raw: Vec::new(),
            },
            Ok(len) => {
                let mut to = Vec::new();
                if let Some(len) = len {
                    to = shared.lock().spare.pop().unwrap_or_default();
                    to.extend_from_slice(&packed[..len]);
                }
                Block {
                    purpose: match job.purpose {
                        Purpose::Fragment => Purpose::Fragment,
                        _ => Purpose::Data,
                    },
                    raw: job.raw,
                    packed: to,
                    len,
                }
            }
            Err(error) => {
                shared.lock().failure = Some(error);
                shared.abort();
                return;
            }
        };
        let mut state = shared.lock();
        let place = usize::try_from(job.number - state.first).unwrap_or(usize::MAX);
        if let Some(step) = state.steps.get_mut(place) {
            *step = Some(Step::Block(block));
        }
        drop(state);
        if place == 0 {
            shared.ready.notify_one();
        }
    }
}

/// Packs the block of `job` to the front of `packed`; how long it is there, or nothing when it goes
/// to the file as it is.
fn made(
    job: &Job,
    packer: &mut Packer,
    options: &WriteOptions,
    packed: &mut Vec<u8>,
) -> Result<Option<usize>, SinkError> {
    let compress = match job.purpose {
        Purpose::Data => options.compress_data,
        Purpose::Fragment => options.compress_fragments,
        Purpose::Stored if job.raw.len() == job.len => false,
        Purpose::Packed => {
            if packed.len() < job.len {
                packed.resize(job.len, 0);
            }
            let codec = options.compressor.codec();
            return match decompress::decode(codec, &job.raw, &mut packed[..job.len]) {
                Ok(len) if len == job.len => Ok(None),
                Ok(_) => Err(damaged("a block that is too short")),
                Err(error) => Err(SinkError::Content(io::Error::other(error))),
            };
        }
        Purpose::Stored => return Err(damaged("a block of another size")),
    };
    Ok(if compress {
        packer.pack(&job.raw, packed)
    } else {
        None
    })
}

fn damaged(what: &str) -> SinkError {
    let what = format!("damaged image: {what}");
    SinkError::Content(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// What the writing thread does.
fn write(shared: &Shared, mut output: Output) -> Result<Written, SinkError> {
    let _watch = Watch(shared);
    loop {
        let mut state = shared.lock();
        let step = loop {
            if state.aborted {
                return Err(lost());
            }
            if matches!(state.steps.front(), Some(Some(_))) {
                state.first += 1;
                if let Some(step) = state.steps.pop_front().flatten() {
                    break step;
                }
            }
            if state.closed && state.steps.is_empty() {
                return Ok(output.end());
            }
            state = wait(&shared.ready, state);
        };
        drop(state);
        shared.room.notify_one();
        match output.take(step) {
            Ok(Some(block)) => {
                let mut state = shared.lock();
                for buffer in [block.raw, block.packed] {
                    if buffer.capacity() > 0 {
                        recycle(&mut state, buffer);
                    }
                }
            }
            Ok(None) => {}
            Err(error) => {
                shared.abort();
                return Err(super::write_error(error));
            }
        }
    }
}
