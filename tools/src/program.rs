//! Under which name the program was called, and what that changes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// skiff's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Apptainer release whose behaviour is followed.
pub const APPTAINER_VERSION: &str = "1.4.5";

/// Whose manners the program shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Personality {
    /// Its own.
    Skiff,
    /// Called `apptainer` or `singularity`, which is the same program there too.
    Apptainer,
}

impl Personality {
    /// The name in usage lines and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skiff => "skiff",
            Self::Apptainer => "apptainer",
        }
    }

    /// Default prompt of shells in containers.
    pub const fn prompt(self) -> &'static str {
        match self {
            Self::Skiff => "skiff> ",
            Self::Apptainer => "Apptainer> ",
        }
    }

    /// The bare version; scripts that look for Apptainer's number find it first.
    pub fn version(self) -> String {
        match self {
            Self::Skiff => VERSION.to_owned(),
            Self::Apptainer => format!("{APPTAINER_VERSION}-skiff{VERSION}"),
        }
    }
}

/// A process's command line, taken apart as far as its first word tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// Whose manners.
    pub personality: Personality,
    /// What follows the program's name.
    pub arguments: Vec<OsString>,
}

impl Invocation {
    /// Interprets a whole `argv`. `run-singularity FILE ARGS` is what the launch line of a SIF
    /// calls and means `run FILE ARGS`.
    pub fn new(argv: impl IntoIterator<Item = OsString>) -> Self {
        let mut words = argv.into_iter();
        let program = words.next().unwrap_or_default();
        let name = Path::new(&program)
            .file_name()
            .unwrap_or(OsStr::new(""))
            .as_bytes();
        match name {
            b"run-singularity" => Self {
                personality: Personality::Apptainer,
                arguments: std::iter::once(OsString::from("run"))
                    .chain(words)
                    .collect(),
            },
            b"apptainer" | b"singularity" => Self {
                personality: Personality::Apptainer,
                arguments: words.collect(),
            },
            _ => Self {
                personality: Personality::Skiff,
                arguments: words.collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(argv: &[&str], personality: Personality, arguments: &[&str]) {
        let found = Invocation::new(argv.iter().map(OsString::from));
        assert_eq!(found.personality, personality, "{argv:?}");
        assert_eq!(found.arguments, arguments, "{argv:?}");
    }

    #[test]
    fn names() {
        check(&["skiff", "exec"], Personality::Skiff, &["exec"]);
        check(
            &["/usr/bin/apptainer", "-d"],
            Personality::Apptainer,
            &["-d"],
        );
        check(&["./singularity"], Personality::Apptainer, &[]);
        check(
            &["run-singularity", "a.sif", "-x"],
            Personality::Apptainer,
            &["run", "a.sif", "-x"],
        );
        check(&["anything"], Personality::Skiff, &[]);
        check(&[], Personality::Skiff, &[]);
    }

    #[test]
    fn version_starts_with_the_number_scripts_parse() {
        assert!(Personality::Apptainer.version().starts_with("1.4.5-skiff"));
    }
}
