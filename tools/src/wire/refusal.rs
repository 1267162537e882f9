//! What a server that cannot start answers, and until when.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use skiff_fs::fuse::standin;
use skiff_launcher::holder::control::{self, Refused};

use crate::remote::voice::Streams;

/// Between two tries to open an image that could not be opened.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// How long those are put off who ask for an image whose servers keep dying, before one is tried
/// again.
const PUT_OFF_FOR: Duration = Duration::from_secs(5);

/// Why those are refused whose image's servers keep dying.
pub(super) fn hopeless() -> io::Error {
    io::Error::other("the image's server keeps dying; see `skiff doctor`")
}

/// When a server may be tried again.
pub(super) enum Hope {
    /// When the image was found to open.
    Found(mpsc::Receiver<()>),
    At(Instant),
}

impl Hope {
    /// In a few seconds, whatever happens.
    pub(super) fn for_a_while() -> Self {
        Self::At(Instant::now() + PUT_OFF_FOR)
    }
}

/// What stands in for [`ViewServer`]: says no.
pub(super) struct Refusal {
    control: Option<OwnedFd>,
    reason: String,
    hope: Hope,
    pub(super) streams: Streams,
}

impl Refusal {
    pub(super) fn new(control: Option<OwnedFd>, reason: &io::Error, hope: Hope) -> Self {
        Self {
            control,
            reason: reason.to_string(),
            hope,
            streams: Streams::default(),
        }
    }
}

impl standin::Desk for Refusal {
    fn line(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    fn answer(&mut self) {
        let mut hear = |stream| self.streams.add(stream);
        let refuse = |control| control::refuse(control, &self.reason, &mut hear);
        if self.control.as_ref().map(refuse) == Some(Refused::Gone) {
            self.control = None;
        }
    }

    fn has_hope(&mut self) -> bool {
        match &self.hope {
            // Whoever was to find out and is gone will not say so.
            Hope::Found(found) => found.try_recv() != Err(TryRecvError::Empty),
            Hope::At(time) => Instant::now() >= *time,
        }
    }
}
