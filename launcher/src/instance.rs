//! Instances: containers that stay when the command that started them has ended, and that other
//! commands find by name.
//!
//! ```text
//! skiff instance start ──fork, fork──► keeper     in the host's PID namespace; writes the record,
//!      │  waits for "started"            │        waits for process 1, removes the record
//!      ▼                                 ▼ fork
//!  ends                               process 1   init: reaps, passes signals on; stays when the
//!                                        │        program has ended
//!                                        ▼ fork
//!                                     the start script
//!
//! skiff exec instance://NAME ──setns to the keeper's namespaces──► one more program
//! ```
//!
//! | file below `~/.apptainer/instances` | |
//! |---|---|
//! | `app/HOST/USER/NAME/NAME.json` | the record, Apptainer's fields and a proof of ours |
//! | `logs/HOST/USER/NAME.out`, `.err` | what the start script writes; kept |
//!
//! A record is only a hint, since whatever can write to the home directory can write one: it counts
//! when the keeper that it names is a process of the user, started at the very moment noted, since
//! this boot. Everything then hangs on a descriptor of that process, never on a number.
//!
//! The directory `NAME` is locked (flock) from the look for a running instance until the record of
//! the new one is written, so that of two starts of one name one fails.

pub mod folder;
pub mod join;
mod keeper;
mod proc;
pub mod record;
pub mod share;
pub mod start;
pub mod stop;
mod sys;

use std::io;
use std::path::PathBuf;

use crate::error::LaunchError;

/// Instances that `--sharens` makes are called so, with the number of the common parent behind it.
pub const SHARED_PREFIX: &str = "sharens_instance_";

/// What goes wrong with instances.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Names become file names.
    #[error("{name} is not a valid instance name")]
    Name {
        /// As given.
        name: String,
    },
    /// There is none, or it has ended.
    #[error("no instance found with name {name}")]
    NotFound {
        /// As given.
        name: String,
    },
    /// The name is taken.
    #[error("instance {name} already exists")]
    Exists {
        /// As given.
        name: String,
    },
    /// A record tells of processes that cannot be seen from here.
    #[error(
        "instance {name} is recorded for another PID namespace in {}: if that container is gone, \
         remove the file",
        path.display()
    )]
    Elsewhere {
        /// As given.
        name: String,
        /// The record.
        path: PathBuf,
    },
    /// A record is there and says nothing that can be used.
    #[error(
        "instance record {}: {source}: if no such instance runs, remove the file",
        path.display()
    )]
    Unread {
        /// The record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The records or logs cannot be kept.
    #[error("instance records: {}: {source}", path.display())]
    Folder {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The new instance could not be split off.
    #[error("failed to start instance: {0}")]
    Process(#[source] io::Error),
    /// The container was not made or its program not started.
    #[error("{reason}")]
    NotStarted {
        /// The new process's own words.
        reason: String,
    },
    /// Planning or joining failed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// Checks that `name` can be one.
///
/// # Errors
/// [`InstanceError::Name`].
pub fn check_name(name: &str) -> Result<(), InstanceError> {
    let fits = !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        // Apptainer lets these two pass and writes beside its own directory.
        && name != "."
        && name != "..";
    if fits {
        Ok(())
    } else {
        Err(InstanceError::Name {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "my-db.2", "_", "...", "A9"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "x".repeat(129);
        for name in ["", ".", "..", "a b", "a/b", "a*", "ä", "a\n", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
