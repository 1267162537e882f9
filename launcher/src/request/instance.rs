//! Programs that outlive the command that starts them, and programs started beside those.

use std::path::PathBuf;

/// The instance that a launch has to do with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceWish {
    /// Its name: `APPTAINER_INSTANCE`.
    pub name: String,
    /// What is done with it.
    pub role: InstanceRole,
}

/// What a launch does with an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InstanceRole {
    /// It is made.
    Start,
    /// One more program is started in it.
    Join {
        /// Home directory that it was made with.
        home: PathBuf,
        /// This program's launch has made it for others to share (`--sharens`).
        master: bool,
    },
}

impl InstanceWish {
    /// Whether it exists already, mounts and namespaces and all.
    pub const fn is_join(&self) -> bool {
        matches!(self.role, InstanceRole::Join { .. })
    }
}
