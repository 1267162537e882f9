//! System call filters: programs of the kernel's classic BPF, and installing them.
//!
//! ```text
//! profile      Docker's JSON form, as `--security seccomp:FILE` takes it
//! pretend      calls that only root may make succeed without doing anything
//! assemble     rules of either become a program
//! names        system calls by name
//! ```

mod assemble;
mod names;
mod pretend;
mod profile;
mod sys;

use serde::{Deserialize, Serialize};

pub use assemble::Instruction;
pub use pretend::pretend_root;
pub use profile::{Held, ProfileError, compile};

use crate::error::LaunchError;

/// A filter that the program gets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Where it comes from, for people.
    pub origin: String,
    /// The program; not printed.
    #[serde(skip)]
    pub program: Vec<Instruction>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Filter({}: {} instructions)",
            self.origin,
            self.program.len()
        )
    }
}

impl Filter {
    /// Puts the filter on the calling process, for good. It needs either CAP_SYS_ADMIN or that no
    /// new privileges are allowed.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn install(&self) -> Result<(), LaunchError> {
        sys::install(&self.program).map_err(|error| LaunchError::Security {
            reason: format!("{}: {}", self.origin, crate::error::reason(&error)),
        })
    }
}
