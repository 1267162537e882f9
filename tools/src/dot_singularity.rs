//! What is written into a root file system to make it an image: `/.singularity.d`, places to bind
//! to, labels, the definition, applications (SCIF).
//!
//! ```text
//! base(from what) ──► top, bottom        put over and under what the root file system has
//! finish(facts, files) ──► nodes         once everything else is in place, put over it
//! inspection(files) ──► object of a SIF  what `inspect --all` is going to say
//! ```
//! All of it is values; whoever converts hands them to layers , whoever builds in
//! a directory writes them. [`overlaid::Overlaid`] shows files as they will be.

pub mod apps;
pub mod date;
pub mod finish;
pub mod labels;
pub mod nodes;
pub mod oci;
pub mod overlaid;
pub mod scripts;

pub use date::BuildDate;
pub use finish::{Facts, Finished, Message, SectionChoice, finish, inspection};
pub use nodes::{Content, Node, Nodes};
pub use oci::ImageConfig;

/// What a root file system began as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun<'a> {
    /// Layers of an OCI image, which has this configuration.
    Oci(&'a ImageConfig),
    /// The files of another image: its own files stay.
    Image,
    /// Files that an agent other than these has made.
    Agent,
}

/// What is put over and under the files that a root file system began with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Base {
    /// Replaces what is there.
    pub top: Nodes,
    /// Only where nothing is.
    pub bottom: Nodes,
}

/// The files that every image has.
pub fn base(begun: Begun<'_>) -> Base {
    let mut base = Base::default();
    for path in [
        "dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "var/tmp",
    ] {
        base.bottom.directory(path);
    }
    for (path, target) in [
        (".exec", ".singularity.d/actions/exec"),
        (".run", ".singularity.d/actions/run"),
        (".shell", ".singularity.d/actions/shell"),
        (".test", ".singularity.d/actions/test"),
        ("environment", ".singularity.d/env/90-environment.sh"),
        ("singularity", ".singularity.d/runscript"),
    ] {
        base.bottom.link(path, target);
    }
    let own = if matches!(begun, Begun::Image) {
        &mut base.bottom
    } else {
        &mut base.top
    };
    for path in ["", "/actions", "/env", "/libs"] {
        own.directory(&format!(".singularity.d{path}"));
    }
    for path in ["etc/hosts", "etc/resolv.conf"] {
        own.text(path, "");
    }
    for &(name, text) in scripts::ALL {
        own.script(&format!(".singularity.d/{name}"), text);
    }
    match begun {
        Begun::Oci(config) => {
            own.script(
                ".singularity.d/env/10-docker2singularity.sh",
                oci::environment(config),
            );
            own.script(".singularity.d/runscript", oci::runscript(config));
        }
        Begun::Image => own.script(".singularity.d/runscript", scripts::NO_RUNSCRIPT),
        Begun::Agent => own.script(".singularity.d/runscript", scripts::EMPTY_RUNSCRIPT),
    }
    base
}

#[cfg(test)]
mod tests;
