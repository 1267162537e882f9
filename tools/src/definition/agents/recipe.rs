//! Steps to the first files of a root file system, as values.

use std::path::PathBuf;

/// What is asked of the host to work out a recipe.
pub trait Host {
    /// Where a program is, by PATH and the usual places of an administrator's programs.
    fn find(&self, program: &str) -> Option<PathBuf>;

    /// Value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// Architecture by Go's name.
    fn arch(&self) -> &str;
}

/// What an agent does, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recipe {
    /// The steps.
    pub steps: Vec<Step>,
    /// What is hidden from the programs where the build has no more than a user namespace.
    pub masks: Masks,
}

/// One thing to be done. Paths without `/` at their beginning are relative to the new root and stay
/// below it; the others are the host's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Makes a directory, unless it is there.
    Directory {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Writes a file.
    File {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
        /// What.
        content: String,
    },
    /// Makes a symbolic link in the place of whatever is there.
    Link {
        /// Where.
        path: String,
        /// To what.
        target: String,
    },
    /// Makes a character device; where that cannot be, an empty file that the host's device is
    /// bound to.
    Device {
        /// Where.
        path: String,
        /// Number of the driver.
        major: u32,
        /// Number of the device.
        minor: u32,
    },
    /// Fetches a file.
    Download {
        /// From where.
        url: String,
        /// Where to.
        path: String,
        /// Permission bits.
        mode: u32,
        /// What to say before the reason when it fails.
        failure: String,
    },
    /// Runs a program of the host.
    Run {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// Whether what it prints is for those who want to know more.
        quiet: bool,
        /// What to say before the reason when it fails.
        failure: String,
        /// An exit code that is no failure, and what to warn with then.
        tolerated: Option<(i32, String)>,
    },
    /// Runs a program of the host and looks at what it prints.
    Inspect {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// What its output is looked at for.
        question: Question,
    },
    /// Removes what is at a path, with all that is below.
    Remove {
        /// Where.
        path: String,
    },
    /// Sets permission bits.
    Mode {
        /// Of what; empty for the root itself.
        path: String,
        /// Which.
        mode: u32,
    },
    /// Tells the user.
    Info(String),
}

/// What a program of the host is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// Where rpm keeps its database, which is where it makes that of the new root.
    RpmDatabase,
    /// In which format.
    RpmBackend,
}

impl Question {
    /// What comes of the answer: warnings.
    ///
    /// # Errors
    /// What ends the build.
    pub fn judge(self, answer: &str) -> Result<Vec<String>, String> {
        match self {
            Self::RpmDatabase => super::yum::judge_database(answer),
            Self::RpmBackend => Ok(super::yum::judge_backend(answer)),
        }
    }
}

/// Programs that cannot work in a user namespace, and that the agent can do without.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Masks {
    /// Programs in whose place `true` is run.
    pub programs: Vec<PathBuf>,
    /// Files of the host that appear empty.
    pub empty: Vec<&'static str>,
    /// Devices of the host that are bound into the new root.
    pub devices: Vec<&'static str>,
    /// Whether the host's /proc is bound into the new root.
    pub proc: bool,
}

/// Devices that programs of a new root cannot do without.
pub(super) const DEVICES: [(&str, u32, u32); 4] = [
    ("null", 1, 3),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

/// The same, as files of the host.
pub(super) const DEVICE_FILES: [&str; 4] =
    ["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

impl Step {
    /// A program that talks to the user.
    pub(super) fn run(program: PathBuf, arguments: Vec<String>, failure: &str) -> Self {
        Self::Run {
            program,
            arguments,
            quiet: false,
            failure: failure.to_owned(),
            tolerated: None,
        }
    }

    /// The devices of a new root.
    pub(super) fn devices() -> impl Iterator<Item = Self> {
        let directory = Self::Directory {
            path: "dev".to_owned(),
            mode: 0o775,
        };
        let devices = DEVICES.iter().map(|&(name, major, minor)| Self::Device {
            path: format!("dev/{name}"),
            major,
            minor,
        });
        std::iter::once(directory).chain(devices)
    }
}

/// A list of arguments.
pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
