//! One container for all children of one process (`--sharens`): the first makes it, the others join.
//!
//! All of them are equal: what holds the namespaces is a keeper without a program, so that the end
//! of the first says nothing to the others, nor to those still to come. It ends when it has stood
//! empty for a while, or when the common parent is gone and nobody is left.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

use super::folder::Place;
use super::proc::Proc;
use super::record::Live;
use super::start::{Start, split_off};
use super::{InstanceError, SHARED_PREFIX};
use crate::report::Report;
use crate::rootfs::RootfsProvider;

/// How long an empty container stays for the next one to come.
const EMPTY: Duration = Duration::from_secs(5);

/// How often a container without parent looks whether the last of them has ended.
const ORPHANED: Duration = Duration::from_millis(250);

/// Containers may end just as one is claimed; and children may use several images.
const MAX_TRIES: usize = 64;

/// A shared instance that cannot end while this lives.
#[derive(Debug)]
pub struct Claimed {
    /// The instance.
    pub live: Live,
    /// This process made it.
    pub master: bool,
    pub(super) place: Place,
}

/// The name of what the children of `parent` share; a second image has a second one.
fn name_of(parent: Pid, number: usize) -> String {
    let parent = parent.as_raw_nonzero();
    match number {
        0 => format!("{SHARED_PREFIX}{parent}"),
        more => format!("{SHARED_PREFIX}{parent}.{more}"),
    }
}

/// Finds the container that the children of this process's parent share for the image of `plan`,
/// or makes it with `plan`. `name` of `order` does not count.
///
/// # Errors
/// It cannot be made.
pub fn claim(
    order: &Start<'_>,
    mut provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<Claimed, InstanceError> {
    let parent = rustix::process::getppid().ok_or_else(|| InstanceError::NotStarted {
        reason: "--sharens: the parent process is in another PID namespace".to_owned(),
    })?;
    let image = order.plan.image.to_string_lossy();
    let mut number = 0;
    let mut master = false;
    for _ in 0..MAX_TRIES {
        let name = name_of(parent, number);
        match order.folder.claim(&name)? {
            (_, Some(live)) if live.record.image != image => number += 1,
            (place, Some(live)) => {
                return Ok(Claimed {
                    live,
                    master,
                    place,
                });
            }
            (place, None) => {
                let order = Start {
                    name: &name,
                    ..*order
                }
                .to_keeper(Some(parent));
                let provider = provider
                    .as_mut()
                    .map(|provider| &mut **provider as &mut dyn RootfsProvider);
                split_off(&order, place, None, provider, report)?;
                master = true;
            }
        }
    }
    Err(InstanceError::NotStarted {
        reason: "--sharens: the shared container keeps ending".to_owned(),
    })
}

/// Looks after those who share.
#[derive(Debug)]
pub(super) struct Watch {
    parent: OwnedFd,
}

impl Watch {
    /// Watches `parent`.
    pub(super) fn new(parent: Pid) -> io::Result<Self> {
        Ok(Self {
            parent: rustix::process::pidfd_open(parent, PidfdFlags::empty())?,
        })
    }

    /// Waits until the container of this process is needed no more; `own` are the processes that
    /// do not count. Takes the record away then, and with it the name.
    pub(super) fn wait(&self, proc: &Proc, place: &Place, own: &[i32]) {
        let Some(mounts) = proc.namespace_number("self", "mnt") else {
            return;
        };
        let mut was_empty = false;
        loop {
            let orphaned = self.is_parent_gone(EMPTY);
            if orphaned {
                std::thread::sleep(ORPHANED);
            }
            // Under the lock nobody is on the way in, but for those who hold it: until they are their
            // program they may not be looked at.
            place.lock();
            let empty = !place.is_held()
                && !proc.pids().unwrap_or_default().into_iter().any(|pid| {
                    !own.contains(&pid)
                        && proc.namespace_number(&pid.to_string(), "mnt") == Some(mounts)
                });
            if empty && (orphaned || was_empty) {
                place.remove();
                return;
            }
            place.unlock();
            was_empty = empty;
        }
    }

    fn is_parent_gone(&self, patience: Duration) -> bool {
        let mut watched = [PollFd::new(&self.parent, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        // An interruption is as good as the end of the time.
        poll(&mut watched, Some(&timeout)).is_ok() && !watched[0].revents().is_empty()
    }
}
