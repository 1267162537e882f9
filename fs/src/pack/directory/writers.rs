//! Threads that make files of small contents, while the next ones are being unpacked: making a file
//! takes a file system longer than unpacking what most files hold.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::content;
use super::staging::{PARTS, new_content};

/// Larger contents are written as they come.
pub(super) const SMALL: u64 = 1 << 20;
/// Contents that wait for each thread.
const QUEUE: usize = 8;

struct Job {
    number: u64,
    bytes: Vec<u8>,
}

struct Writer {
    jobs: SyncSender<Job>,
    /// Ends with how many bytes are not in holes.
    thread: JoinHandle<io::Result<u64>>,
}

/// One for each part of the directory of contents, in which only it makes files. None where the
/// system gives no threads.
#[derive(Default)]
pub(super) struct Writers(Vec<Writer>);

impl std::fmt::Debug for Writers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("Writers")
            .field(&self.0.len())
            .finish()
    }
}

impl Writers {
    /// Starts them; `contents` is where they write.
    pub(super) fn start(contents: &OwnedFd) -> Self {
        let start = || -> io::Result<Writer> {
            let contents = contents.try_clone()?;
            let (jobs, queue) = sync_channel(QUEUE);
            let thread = thread::Builder::new()
                .name("skiff-files".to_owned())
                .spawn(move || write(&contents, &queue))?;
            Ok(Writer { jobs, thread })
        };
        let all: io::Result<Vec<Writer>> = (0..PARTS).map(|_| start()).collect();
        Self(all.unwrap_or_default())
    }

    /// Has a file made; gives the content back where there is nobody to do it.
    ///
    /// # Errors
    /// Why an earlier one could not be written.
    pub(super) fn hand_over(&mut self, number: u64, bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        let count = self.0.len() as u64;
        let Some(part) = number
            .checked_rem(count)
            .and_then(|part| usize::try_from(part).ok())
        else {
            return Ok(Some(bytes));
        };
        let sent = self
            .0
            .get(part)
            .map(|writer| writer.jobs.send(Job { number, bytes }));
        match sent {
            Some(Ok(())) => Ok(None),
            // It has ended, which only failures make it do.
            Some(Err(_)) => self
                .finish()
                .and(Err(io::Error::other("a thread has ended"))),
            None => Err(io::Error::other("there is no such thread")),
        }
    }

    /// Waits until all is written; how many bytes are not in holes.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn finish(&mut self) -> io::Result<u64> {
        let mut written = Ok(0);
        // All of them are told before any is waited for.
        let (queues, threads): (Vec<_>, Vec<_>) = self
            .0
            .drain(..)
            .map(|writer| (writer.jobs, writer.thread))
            .unzip();
        drop(queues);
        for thread in threads {
            let one = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread that writes files panicked")));
            written = written.and_then(|so_far: u64| one.map(|more| so_far + more));
        }
        written
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // What they write to is about to be removed.
        self.finish().ok();
    }
}

fn write(contents: &OwnedFd, queue: &Receiver<Job>) -> io::Result<u64> {
    let mut written = 0;
    for Job { number, bytes } in queue {
        let file = new_content(contents, number)?;
        written += content::write_whole(&file, &bytes)?;
    }
    Ok(written)
}
