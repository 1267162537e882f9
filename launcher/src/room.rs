//! The room in which an image is made: namespaces that last while a build goes from step to step.
//!
//! ```text
//! the build ── forks ──► guard: user and mount namespace   ── forks ──► keeper: process 1
//!     │                                                                  does nothing but live
//!     └── forks for each step ──► a child that enters the keeper's namespaces and works there
//! ```
//! The build itself stays on the host, single-threaded, and is the one that is interrupted: it then
//! kills the keeper, and with it, in one stroke, everything that was started in the room. Mounts go
//! with the namespaces. Where no PID namespace can be had (its /proc may not be mounted), whatever
//! the build has left running is hunted down instead.

mod keeper;
mod root;
mod step;

use std::cell::Cell;
use std::fmt;

use crate::error::LaunchError;
use crate::idmap::IdMap;
use crate::kernel::{self, SignalMask};

pub use root::{Base, RootWish, lay_out};

use keeper::Keeper;

/// Why a step came to nothing.
#[derive(Debug)]
pub enum StepError {
    /// Somebody asked the build to end, by this signal.
    Interrupted(i32),
    /// The step itself says why.
    Failed(String),
    /// It could not be begun.
    Launch(LaunchError),
}

impl fmt::Display for StepError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted(signal) => write!(out, "interrupted by signal {signal}"),
            Self::Failed(reason) => out.write_str(reason),
            Self::Launch(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for StepError {}

impl From<LaunchError> for StepError {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}

/// The process that makes an image, from the moment on when it takes care of signals.
#[derive(Debug)]
pub struct Build {
    mask: SignalMask,
    /// Children from before, of the program that became this one.
    others: Vec<i32>,
    /// What is left to be done is not to be interrupted.
    cleans_up: Cell<bool>,
}

impl Build {
    /// From now on signals wait until a step ends or are what ends it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn begin() -> Result<Self, LaunchError> {
        kernel::keep_dead_children().map_err(crate::process::setup::io("keeping children"))?;
        let mask =
            kernel::block_signals().map_err(crate::process::setup::io("blocking signals"))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| {
            LaunchError::Setup {
                step: "adopting orphans",
                reason: crate::error::errno_reason(error),
            }
        })?;
        Ok(Self {
            mask,
            others: step::children(),
            cleans_up: Cell::new(false),
        })
    }

    /// Does `work` in a child on the host, which may have threads, and gives what it says.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn outside(
        &self,
        work: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Vec<u8>, StepError> {
        step::run(self, None, work)
    }

    /// Makes a room whose user namespace has `ids`; none: the user namespace stays the same.
    ///
    /// # Errors
    /// The machine does not let this user have one.
    pub fn room(&self, ids: Option<&IdMap>) -> Result<Room<'_>, LaunchError> {
        let keeper = keeper::open(ids)?;
        Ok(Room {
            build: self,
            keeper,
        })
    }

    /// Ends everything that was started and is still there. Steps that follow are those that clean
    /// up: they come to their end, whoever asks the build to end.
    pub fn clear(&self) {
        self.cleans_up.set(true);
        step::end_all(&self.others);
    }

    /// Lets signals through again.
    pub fn end(self) {
        // A mask that cannot be put back is one that nobody waits under.
        let _as_it_is = kernel::restore_signals(&self.mask);
    }
}

/// A room that is there until it is dropped.
#[derive(Debug)]
pub struct Room<'a> {
    build: &'a Build,
    keeper: Keeper,
}

impl Room<'_> {
    /// Does `work` in a child inside the room, which may have threads, and gives what it says.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn inside(
        &self,
        work: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Vec<u8>, StepError> {
        step::run(self.build, Some(&self.keeper), work)
    }
}
