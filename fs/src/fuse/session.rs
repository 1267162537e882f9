//! The loop that reads requests: one thread for each device of the connection, and while that
//! thread waits for bytes from far away, another in its place.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use skiff_cache::waiting::{self, Relief};

use super::abi::Request;
use super::connection::REQUEST_BUFFER_BYTES;
use super::handler::{FileSystem, Scratch};
use super::reply::Replier;
use super::waits::Waits;

/// Threads that one device may have at once, nearly all of them waiting. The kernel has at most one
/// request per process thread in flight and 64 of read-ahead; beyond this number they queue.
const MAX_THREADS_PER_DEVICE: usize = 256;

/// How long a thread without work stays, for the next wait.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// Serves until the mount is gone from the last namespace (the device then says `ENODEV`).
///
/// # Errors
/// When a thread cannot be started or a device fails in another way.
pub fn serve(file_system: &Arc<FileSystem>, devices: Vec<OwnedFd>) -> io::Result<()> {
    if let Some(device) = devices.first() {
        let (file_system, device) = (Arc::clone(file_system), device.try_clone()?);
        std::thread::Builder::new()
            .name("push".into())
            .spawn(move || {
                file_system
                    .push
                    .run(file_system.tree(), Replier::new(device.as_fd()));
            })?;
    }
    let count = devices.len();
    let (closed, closing) = mpsc::channel();
    for (number, device) in devices.into_iter().enumerate() {
        let desk = Arc::new(Desk {
            number,
            device: Arc::new(device),
            file_system: Arc::clone(file_system),
            state: Mutex::new(State {
                attending: 1,
                threads: 1,
                ..State::default()
            }),
            freed: Condvar::new(),
            closed: closed.clone(),
        });
        desk.start_thread()?;
    }
    drop(closed);
    // Threads that still wait for a network are not waited for: nobody wants their answer.
    let outcome = closing.iter().take(count).collect();
    file_system.push.close();
    outcome
}

/// One device and the threads that take turns at it.
#[derive(Debug)]
struct Desk {
    number: usize,
    device: Arc<OwnedFd>,
    file_system: Arc<FileSystem>,
    state: Mutex<State>,
    /// There is work for an idle thread.
    freed: Condvar,
    /// Told once, when the device is no more.
    closed: Sender<io::Result<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Threads that read requests or work on one; the rest wait for bytes or are idle. One in
    /// quiet times, for a moment two when one comes back.
    attending: usize,
    /// Threads parked in [`Desk::step_aside`].
    idle: usize,
    /// Idle threads called back that have not woken yet.
    called: usize,
    threads: usize,
    closed: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let desk = Arc::clone(self);
        std::thread::Builder::new()
            .name(format!("fuse-{}", self.number))
            .spawn(move || {
                if desk.file_system.tree().waits() {
                    waiting::install(Arc::new(Stand(Arc::clone(&desk))));
                }
                if let Some(outcome) = desk.attend() {
                    desk.close(outcome);
                }
                desk.lock().threads -= 1;
            })
            .map(drop)
    }

    fn close(&self, outcome: io::Result<()>) {
        let mut state = self.lock();
        if !state.closed {
            state.closed = true;
            self.freed.notify_all();
            // Nobody listens once all devices are closed.
            let _nobody = self.closed.send(outcome);
        }
    }

    /// Reads and answers requests. `Some` when the device is no more, `None` when the thread has
    /// become superfluous.
    fn attend(&self) -> Option<io::Result<()>> {
        let mut buffer = vec![0; REQUEST_BUFFER_BYTES];
        let mut scratch = Scratch::default();
        let replier = Replier::new(self.device.as_fd());
        loop {
            let count = match rustix::io::read(&*self.device, &mut buffer[..]) {
                Ok(count) => count,
                // ENOENT: the request was interrupted before it could be read.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
                Err(Errno::NODEV) => return Some(Ok(())),
                Err(errno) => return Some(Err(errno.into())),
            };
            let Some(request) = Request::parse(&buffer[..count]) else {
                return Some(Err(Errno::PROTO.into()));
            };
            match answer(&self.file_system, &request, &mut scratch, replier) {
                Ok(()) => {}
                Err(Errno::NODEV) => return Some(Ok(())),
                Err(errno) => return Some(Err(errno.into())),
            }
            if !self.is_needed() && !self.step_aside() {
                return None;
            }
        }
    }

    /// Whether the calling thread is the only one at the device.
    fn is_needed(&self) -> bool {
        // Without a wait there never is a second one: the usual case costs one uncontended lock.
        self.lock().attending == 1
    }

    /// Waits until the thread is needed again; `false` when it should end.
    fn step_aside(&self) -> bool {
        let mut state = self.lock();
        if state.attending == 1 {
            return true;
        }
        state.attending -= 1;
        state.idle += 1;
        let (mut state, _) = self
            .freed
            .wait_timeout_while(state, IDLE_FOR, |state| state.called == 0 && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        if state.called == 0 {
            return false;
        }
        // Who called has counted us as attending already.
        state.called -= 1;
        true
    }
}

/// A thread's place at its desk.
#[derive(Debug)]
struct Stand(Arc<Desk>);

impl Relief for Stand {
    fn leave(&self) {
        self.0.file_system.waits.begin(&self.0.device);
        let mut state = self.0.lock();
        if state.closed || state.attending > 1 {
            state.attending -= 1;
            return;
        }
        if state.idle > state.called {
            state.called += 1;
            self.0.freed.notify_one();
        } else if state.threads < MAX_THREADS_PER_DEVICE {
            state.threads += 1;
            drop(state);
            if self.0.start_thread().is_err() {
                // No thread to be had: requests wait until this one is back.
                let mut state = self.0.lock();
                state.threads -= 1;
                state.attending -= 1;
            }
        } else {
            state.attending -= 1;
        }
    }

    fn come_back(&self) {
        self.0.file_system.waits.end();
        self.0.lock().attending += 1;
    }
}

/// Answers one request; an error is one of the device.
fn answer(
    file_system: &FileSystem,
    request: &Request<'_>,
    scratch: &mut Scratch,
    replier: Replier<'_>,
) -> Result<(), Errno> {
    Waits::works_for(request.pid, request.unique);
    // One request that meets a bug of ours must not end the mount for all.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        file_system.handle(request, scratch, replier)
    }))
    .unwrap_or_else(|_| {
        *scratch = Scratch::default();
        replier.error(request.unique, Errno::IO)
    });
    match outcome {
        // ENOENT: the asking process was killed meanwhile.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NODEV) => Err(Errno::NODEV),
        Err(errno) => {
            // Refused as a whole (a reply that the kernel finds malformed): the asking process
            // must not wait forever.
            match replier.error(request.unique, Errno::IO) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(Errno::NODEV) => Err(Errno::NODEV),
                Err(_) => Err(errno),
            }
        }
    }
}
