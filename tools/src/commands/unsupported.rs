//! Commands of Apptainer that are no part of skiff: they are in the help, so that nobody looks for
//! them in vain, and say in one line that they do nothing.

use anyhow::bail;
use clap::Args;

use super::EMPTY;
use crate::cli::Context;
use crate::cli::admin::{AnyArgs, WordArgs};
use crate::cli::verb::{Arity, Run, Verb, call};
use crate::exit::ExitStatus;
use crate::output;

const fn refused(name: &'static str, about: &'static str, run: Run) -> Verb {
    Verb {
        name,
        about,
        usage: "[words...]",
        augment: AnyArgs::augment_args,
        run,
        ..EMPTY
    }
}

const fn plugin(name: &'static str, about: &'static str) -> Verb {
    refused(name, about, |_, _| {
        bail!(
            "plugins are not supported: they are parts of Apptainer's own program and cannot be \
             loaded by another"
        )
    })
}

/// `plugin …`
pub const PLUGIN_VERBS: &[Verb] = &[
    plugin("compile", "Not supported: compile a plugin of Apptainer"),
    plugin("create", "Not supported: start a plugin of Apptainer"),
    plugin("disable", "Not supported: disable a plugin of Apptainer"),
    plugin("enable", "Not supported: enable a plugin of Apptainer"),
    plugin("inspect", "Not supported: show a plugin of Apptainer"),
    plugin("install", "Not supported: install a plugin of Apptainer"),
    Verb {
        name: "list",
        about: "List installed plugins: there are never any",
        usage: "[list options...]",
        arity: Arity::Exactly(0),
        augment: WordArgs::augment_args,
        run: |matches, context| call(matches, context, no_plugins),
        ..EMPTY
    },
    plugin("uninstall", "Not supported: remove a plugin of Apptainer"),
];

fn no_plugins(_: &WordArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    output::stdout("There are no plugins installed.\n")?;
    Ok(ExitStatus::Success)
}

macro_rules! oci {
    ($($name:literal: $about:literal;)+) => {
        /// `oci …`
        pub const OCI_VERBS: &[Verb] = &[$(
            refused($name, concat!("Not supported: ", $about), |_, _| oci($name)),
        )+];
    };
}

oci! {
    "attach": "attach a terminal to a container (root user only)";
    "create": "make a container from a bundle (root user only)";
    "delete": "delete a container (root user only)";
    "exec": "run a program in a container (root user only)";
    "kill": "kill a container (root user only)";
    "mount": "make a bundle from an image (root user only)";
    "pause": "stop a container's processes (root user only)";
    "resume": "let a container's processes go on (root user only)";
    "run": "make, start and delete a container (root user only)";
    "start": "start a container (root user only)";
    "state": "show a container (root user only)";
    "umount": "remove a bundle (root user only)";
    "update": "change a container's limits (root user only)";
}

fn oci(name: &str) -> anyhow::Result<ExitStatus> {
    if !rustix::process::geteuid().is_root() {
        bail!("\"apptainer oci {name}\" command requires root privileges");
    }
    bail!("oci {name} is not supported: use runc or crun for OCI bundles")
}

const fn checkpoint(name: &'static str, about: &'static str) -> Verb {
    refused(name, about, |_, _| {
        bail!("checkpoints are not supported: skiff does not work together with DMTCP")
    })
}

/// `checkpoint …`
pub const CHECKPOINT_VERBS: &[Verb] = &[
    checkpoint("create", "Not supported: make a place for a checkpoint"),
    checkpoint("delete", "Not supported: delete a checkpoint"),
    checkpoint(
        "instance",
        "Not supported: take a checkpoint of an instance",
    ),
    checkpoint("list", "Not supported: list checkpoints"),
];
