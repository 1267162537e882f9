//! Which of the images behind one name: for which machine.

use std::fmt;

use serde::Deserialize;

/// A machine, by Go's names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// `v7` …; none if any will do.
    pub variant: Option<String>,
}

/// What an index says an image is for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stated {
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) variant: String,
}

impl Platform {
    /// The architectures that are known, by Go's names.
    pub const KNOWN: [&'static str; 9] = [
        "amd64", "386", "arm", "arm64", "ppc64le", "s390x", "riscv64", "loong64", "mips64le",
    ];

    /// This machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    /// How well an image fits: 0 is best; `None` does not fit.
    pub(super) fn rank(&self, stated: &Stated) -> Option<usize> {
        if !matches!(&*stated.os, "linux" | "") || stated.architecture != self.architecture {
            return None;
        }
        let usual = match &*self.architecture {
            "arm" => &["v7", "v6", "v5", ""][..],
            "arm64" => &["v8", ""][..],
            _ => &[""][..],
        };
        match &self.variant {
            Some(variant) if *variant == stated.variant => Some(0),
            // What index and machine call by its usual name may go without.
            Some(variant) if stated.variant.is_empty() && usual.first() == Some(&&**variant) => {
                Some(1)
            }
            Some(_) => None,
            None => Some(
                usual
                    .iter()
                    .position(|usual| *usual == stated.variant)
                    .unwrap_or(usual.len()),
            ),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "linux/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Stated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(formatter, "/{}", self.variant)?;
        }
        Ok(())
    }
}
