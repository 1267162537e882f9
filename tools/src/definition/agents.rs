//! What makes the first files of a root file system.
//!
//! Those that begin with an image are a matter of conversion. The others run programs of the host;
//! what they run is worked out here, as a [`Recipe`].

pub mod recipe;

mod arch;
mod busybox;
mod debootstrap;
mod yum;
mod zypper;

use std::path::{Path, PathBuf};

pub use recipe::{Host, Masks, Question, Recipe, Step};

use super::Stage;

/// Ways to begin, by the value of `Bootstrap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agent {
    /// An image of a registry.
    Docker,
    /// A file that `docker save` wrote.
    DockerArchive,
    /// An image of a Docker service.
    DockerDaemon,
    /// An OCI layout.
    Oci,
    /// A file with an OCI layout.
    OciArchive,
    /// An image of a library service.
    Library,
    /// An image file from a registry.
    Oras,
    /// An image of a service that is gone.
    Shub,
    /// An image file or a directory.
    LocalImage,
    /// Packages of Red Hat's kind.
    Yum,
    /// Packages of SUSE's kind.
    Zypper,
    /// Packages of Debian's kind.
    Debootstrap,
    /// Packages of Arch Linux.
    Arch,
    /// One program.
    Busybox,
    /// Nothing.
    Scratch,
}

impl Agent {
    /// The agent called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn by_name(name: &str) -> Result<Self, String> {
        Ok(match name {
            "docker" => Self::Docker,
            "docker-archive" => Self::DockerArchive,
            "docker-daemon" => Self::DockerDaemon,
            "oci" => Self::Oci,
            "oci-archive" => Self::OciArchive,
            "library" => Self::Library,
            "oras" => Self::Oras,
            "shub" => Self::Shub,
            "localimage" => Self::LocalImage,
            "yum" | "dnf" => Self::Yum,
            "zypper" => Self::Zypper,
            "debootstrap" => Self::Debootstrap,
            "arch" => Self::Arch,
            "busybox" => Self::Busybox,
            "scratch" => Self::Scratch,
            "" => return Err("no bootstrap specification found".to_owned()),
            other => return Err(format!("invalid build source {other}")),
        })
    }

    /// Whether it makes the file system from an OCI image, whose configuration goes along.
    pub fn is_oci(self) -> bool {
        matches!(
            self,
            Self::Docker | Self::DockerArchive | Self::DockerDaemon | Self::Oci | Self::OciArchive
        )
    }

    /// Whether it makes the file system from an image file or a directory, of which the files in
    /// `/.singularity.d` are kept.
    pub fn is_image(self) -> bool {
        matches!(
            self,
            Self::Library | Self::Oras | Self::Shub | Self::LocalImage
        )
    }
}

/// What the agents that fetch packages do: all but those that begin with an image.
///
/// # Errors
/// When the header lacks something or a program is missing; Apptainer's words.
pub fn recipe(agent: Agent, stage: &Stage, root: &Path, host: &dyn Host) -> Result<Recipe, String> {
    match agent {
        Agent::Debootstrap => debootstrap::recipe(stage, root, host),
        Agent::Yum => yum::recipe(stage, root, host),
        Agent::Zypper => zypper::recipe(stage, root, host),
        Agent::Arch => arch::recipe(stage, root, host),
        Agent::Busybox => busybox::recipe(stage, root),
        _ => Ok(Recipe::default()),
    }
}

/// Packages that are asked for: the header's and those of the variable `INCLUDE`.
fn included(stage: &Stage, host: &dyn Host) -> Vec<String> {
    let header = stage.value("include").unwrap_or_default();
    let variable = host.variable("INCLUDE").unwrap_or_default();
    let words = header.split_whitespace().chain(variable.split_whitespace());
    words.map(str::to_owned).collect()
}

/// Where `program` is.
fn program(host: &dyn Host, program: &str) -> Result<PathBuf, String> {
    host.find(program)
        .ok_or_else(|| format!("exec: \"{program}\": executable file not found in $PATH"))
}

/// Replaces `%{OSVERSION}`, in whatever case, by the version; the flag tells whether it was there.
fn with_version(url: &str, version: &str) -> (String, bool) {
    const MARK: &str = "%{osversion}";
    let mut rest = url;
    let mut replaced = String::new();
    // Lower case keeps the places of ASCII characters, and those of others.
    let mut lower = rest.to_ascii_lowercase();
    let mut found = false;
    while let Some(at) = lower.find(MARK) {
        replaced.push_str(&rest[..at]);
        replaced.push_str(version);
        rest = &rest[at + MARK.len()..];
        lower = rest.to_ascii_lowercase();
        found = true;
    }
    replaced.push_str(rest);
    (replaced, found)
}

#[cfg(test)]
mod tests;
