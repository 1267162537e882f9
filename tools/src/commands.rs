//! All verbs, one row each. A new one is a file in `commands/` with its arguments (or a struct in
//! `cli/`) and `run`, and a row here.

pub mod action;
pub mod build;
pub mod buildcfg;
pub mod cache;
pub mod capability;
pub mod completion;
pub mod config;
pub mod demo;
pub mod doctor;
pub(crate) mod elf;
pub mod inspect;
pub mod instance;
pub mod key;
pub mod mount;
pub mod overlay;
pub mod pull;
pub mod push;
pub mod registry;
pub mod run_help;
pub mod serve;
pub mod services;
pub mod sif;
pub mod sign;
pub mod stats;
pub mod unsupported;
pub mod verify;
pub mod version;
pub mod warm;

use crate::cli::action::{ProgramArgs, RunArgs, ShellArgs};
use crate::cli::admin::WordArgs;
use crate::cli::build::{BuildArgs, PullArgs};
use crate::cli::cache::StatsArgs;
use crate::cli::image::{InspectArgs, RunHelpArgs};
use crate::cli::signing::{SignArgs, VerifyArgs};
use crate::cli::verb::{Arity, Verb, call};
use crate::cli::warm::WarmArgs;
use clap::Args;

pub(crate) const EMPTY: Verb = Verb {
    name: "",
    about: "",
    usage: "",
    description: "",
    examples: &[],
    arity: Arity::Any,
    hidden: false,
    augment: |command| command,
    run: |_, _| Ok(crate::exit::ExitStatus::Success),
    children: &[],
    settings: false,
    needs_child: false,
};

const IMAGES: &str = "\
The container is one of:

  *.sif         an image in the Singularity Image Format
  *.sqsh        a squashfs file
  directory/    a directory with a root file system
  https://...   a file on a web server; oras://... a SIF in a registry
  docker://...  an image of a registry, converted once and kept in the node's
                cache; likewise docker-archive:, oci:, oci-archive: from files";

const BUILDS: &str = "\
What is built is a SIF or, with --sandbox, a directory. It is built from one of:

  *.def              a definition file
  docker://name:tag  an image of a registry; docker-archive:, oci:, oci-archive:
                     name archives and layouts that are files
  oras://, https://  a SIF that is elsewhere
  *.sif, *.sqsh, directory/
                     an image or root file system of this machine";

const PULLS: &str = "\
An image that is elsewhere becomes a SIF here:

  docker://name:tag  converted from an image of a registry; likewise
                     docker-archive:, oci:, oci-archive: from files
  oras://, https://  as it is";

/// In alphabetical order.
const VERBS: &[Verb] = &[
    Verb {
        name: "build",
        about: "Build an image",
        settings: true,
        usage: "[local options...] <IMAGE PATH> <BUILD SPEC>",
        description: BUILDS,
        examples: &[
            "build lab.sif lab.def",
            "build --sandbox debian/ docker://debian:12",
            "build lab.sif lab-sandbox/",
        ],
        arity: Arity::Exactly(2),
        augment: BuildArgs::augment_args,
        run: |matches, context| call(matches, context, build::run),
        ..EMPTY
    },
    Verb {
        name: "buildcfg",
        about: "Output the compile-time parameters",
        usage: "[parameter]",
        arity: Arity::AtMost(1),
        hidden: true,
        augment: WordArgs::augment_args,
        run: |matches, context| call(matches, context, buildcfg::run),
        ..EMPTY
    },
    Verb {
        name: "cache",
        about: "Manage the local cache",
        usage: "<command>",
        description: "\
What was fetched of images that are elsewhere is kept on a disk of this node, in
$SKIFF_CACHE_DIR, $APPTAINER_CACHEDIR/skiff or, without these, skiff-cache-<uid>
in $TMPDIR, /local, /scratch/local, /var/tmp or /tmp.",
        augment: WordArgs::augment_args,
        children: cache::verbs::VERBS,
        needs_child: true,
        ..EMPTY
    },
    Verb {
        name: "capability",
        about: "Manage Linux capabilities for users and groups",
        usage: "<command>",
        description: "\
Capabilities are parts of root's power. Giving one to somebody who should not be
root on this machine is hardly ever a good idea; add and drop need root.",
        augment: WordArgs::augment_args,
        children: capability::VERBS,
        needs_child: true,
        ..EMPTY
    },
    Verb {
        name: "checkpoint",
        about: "Manage container checkpoint state (not supported)",
        augment: WordArgs::augment_args,
        children: unsupported::CHECKPOINT_VERBS,
        ..EMPTY
    },
    Verb {
        name: "completion",
        about: "Generate the autocompletion script for a shell",
        usage: "<bash|zsh|fish>",
        arity: Arity::AtMost(1),
        augment: WordArgs::augment_args,
        run: |matches, context| call(matches, context, completion::run),
        examples: &["completion bash > ~/.local/share/bash-completion/completions/apptainer"],
        ..EMPTY
    },
    Verb {
        name: "config",
        about: "Show and change the configuration",
        augment: WordArgs::augment_args,
        children: config::VERBS,
        ..EMPTY
    },
    Verb {
        name: "delete",
        about: "Delete an image from a library (not supported)",
        usage: "[delete options...] <imageRef>",
        arity: Arity::Exactly(1),
        augment: services::DeleteArgs::augment_args,
        run: |matches, context| call(matches, context, services::delete),
        ..EMPTY
    },
    Verb {
        name: "demo",
        about: "Pack an image from this machine's own programs and run one from it",
        augment: demo::DemoArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| demo::run(args)),
        ..EMPTY
    },
    Verb {
        name: "doctor",
        about: "Check whether containers can run on this machine",
        settings: true,
        augment: doctor::DoctorArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| doctor::run(args)),
        ..EMPTY
    },
    Verb {
        name: "exec",
        about: "Run a command within a container",
        usage: "[exec options...] <container> <command>",
        description: IMAGES,
        examples: &[
            "exec debian.sif cat /etc/debian_version",
            "exec -B /data:/mnt debian.sif python3 hello.py",
        ],
        arity: Arity::AtLeast(2),
        augment: ProgramArgs::augment_args,
        run: |matches, context| call(matches, context, action::exec),
        ..EMPTY
    },
    Verb {
        name: "inspect",
        about: "Show metadata for an image",
        settings: true,
        usage: "[inspect options...] <image path>",
        description: "\
Labels, environment, scripts and applications of an image, as text or JSON.",
        examples: &["inspect image.sif", "inspect --json --labels image.sif"],
        arity: Arity::Exactly(1),
        augment: InspectArgs::augment_args,
        run: |matches, context| call(matches, context, inspect::run),
        ..EMPTY
    },
    Verb {
        name: "instance",
        about: "Manage containers running as services",
        usage: "<command>",
        description: "\
Instances are containers that run in the background under a name, such as web
servers and databases.",
        augment: WordArgs::augment_args,
        children: instance::VERBS,
        needs_child: true,
        ..EMPTY
    },
    Verb {
        name: "key",
        about: "Manage OpenPGP keys",
        usage: "[key options...] <command>",
        description: "\
Manage the public keys you trust and your private keys, in your own keyring or in
the one of the machine (own keyring: ~/.apptainer/keys unless APPTAINER_KEYSDIR is
set; of the machine: global-pgp-public beside the configuration file).",
        examples: &["key newpair", "key list --secret"],
        augment: WordArgs::augment_args,
        children: key::VERBS,
        needs_child: true,
        ..EMPTY
    },
    Verb {
        name: "keyserver",
        about: "Manage keyservers (not supported)",
        usage: "[subcommand options...]",
        augment: WordArgs::augment_args,
        children: services::KEYSERVER_VERBS,
        ..EMPTY
    },
    Verb {
        name: "mount",
        about: "Mount an image on a directory to look at it",
        settings: true,
        usage: "[mount options...] <image> <directory>",
        examples: &["mount debian.sif /tmp/debian"],
        arity: Arity::Exactly(2),
        augment: mount::MountArgs::augment_args,
        run: |matches, context| call(matches, context, mount::mount),
        ..EMPTY
    },
    Verb {
        name: "oci",
        about: "Manage OCI containers (not supported)",
        augment: WordArgs::augment_args,
        children: unsupported::OCI_VERBS,
        ..EMPTY
    },
    Verb {
        name: "overlay",
        about: "Manage an EXT3 writable overlay image",
        description: "\
The overlay command allows management of EXT3 writable overlay images.",
        augment: WordArgs::augment_args,
        children: overlay::VERBS,
        ..EMPTY
    },
    Verb {
        name: "plugin",
        about: "Manage plugins of Apptainer (not supported)",
        usage: "[plugin options...] <command>",
        augment: WordArgs::augment_args,
        children: unsupported::PLUGIN_VERBS,
        needs_child: true,
        ..EMPTY
    },
    Verb {
        name: "pull",
        about: "Pull an image from a URI",
        settings: true,
        usage: "[pull options...] [output file] <URI>",
        description: PULLS,
        examples: &[
            "pull docker://debian:12",
            "pull lab.sif oras://registry.example.org/lab/py:3",
            "pull --arch arm64 alpine.sif docker://alpine:3",
        ],
        arity: Arity::Between(1, 2),
        augment: PullArgs::augment_args,
        run: |matches, context| call(matches, context, pull::run),
        ..EMPTY
    },
    Verb {
        name: "push",
        about: "Upload an image to a registry",
        settings: true,
        usage: "[push options...] <image> <URI>",
        description: "\
The image, a SIF file, is stored as ORAS does. The digests of its chunks are
published beside it, so that readers who fetch parts of it can check them.",
        examples: &["push my.sif oras://registry.example.org/lab/image:tag"],
        arity: Arity::Exactly(2),
        augment: push::PushArgs::augment_args,
        run: |matches, context| call(matches, context, push::run),
        ..EMPTY
    },
    Verb {
        name: "registry",
        about: "Manage authentication to OCI/Docker registries",
        usage: "[subcommand options...]",
        augment: WordArgs::augment_args,
        children: registry::verbs::VERBS,
        ..EMPTY
    },
    Verb {
        name: "remote",
        about: "Old names of registry login and registry logout",
        usage: "[subcommand options...]",
        hidden: true,
        augment: WordArgs::augment_args,
        children: registry::verbs::OLD_VERBS,
        ..EMPTY
    },
    Verb {
        name: "run",
        about: "Run the user-defined default command within a container",
        usage: "[run options...] <container> [args...]",
        description: IMAGES,
        examples: &["run hello.sif", "run hello.sif its own --arguments"],
        arity: Arity::AtLeast(1),
        augment: RunArgs::augment_args,
        run: |matches, context| call(matches, context, action::run),
        ..EMPTY
    },
    Verb {
        name: "run-help",
        about: "Show the user-defined help for an image",
        settings: true,
        usage: "<image path>",
        examples: &["run-help image.sif", "run-help --app foo image.sif"],
        arity: Arity::Exactly(1),
        augment: RunHelpArgs::augment_args,
        run: |matches, context| call(matches, context, run_help::run),
        ..EMPTY
    },
    Verb {
        name: "search",
        about: "Search a library for images (not supported)",
        usage: "[search options...] <search_query>",
        arity: Arity::Exactly(1),
        augment: services::SearchArgs::augment_args,
        run: |matches, context| call(matches, context, services::search),
        ..EMPTY
    },
    Verb {
        name: "shell",
        about: "Run a shell within a container",
        usage: "[shell options...] <container>",
        description: IMAGES,
        examples: &["shell debian.sif"],
        arity: Arity::AtLeast(1),
        augment: ShellArgs::augment_args,
        run: |matches, context| call(matches, context, action::shell),
        ..EMPTY
    },
    Verb {
        name: "sif",
        about: "Look into Singularity Image Format (SIF) files",
        augment: WordArgs::augment_args,
        children: sif::verbs::VERBS,
        ..EMPTY
    },
    Verb {
        name: "sign",
        about: "Add digital signature(s) to an image",
        usage: "[sign options...] <image path>",
        description: "\
Adds signatures to a SIF image: one for each group of objects, unless one group or
object is named. The key is one of the OpenPGP keyring (see key), or a private key
in a PEM file.",
        examples: &["sign container.sif", "sign --key private.pem container.sif"],
        arity: Arity::Exactly(1),
        augment: SignArgs::augment_args,
        run: |matches, context| call(matches, context, sign::run),
        ..EMPTY
    },
    Verb {
        name: "stats",
        about: "Show what was read, fetched and waited for of images",
        settings: true,
        usage: "[--all | <image>]",
        description: "\
Figures of the image's running server, if there is one of this user, session and
job step, and what the cache has of the image.",
        examples: &[
            "stats https://host/image.sif",
            "stats --all --json",
            "stats --all --prometheus",
        ],
        arity: Arity::AtMost(1),
        augment: StatsArgs::augment_args,
        run: |matches, context| call(matches, context, stats::run),
        ..EMPTY
    },
    Verb {
        name: "test",
        about: "Run the user-defined tests within a container",
        usage: "[exec options...] <image path>",
        description: IMAGES,
        examples: &["test debian.sif"],
        arity: Arity::AtLeast(1),
        augment: ProgramArgs::augment_args,
        run: |matches, context| call(matches, context, action::test),
        ..EMPTY
    },
    Verb {
        name: "umount",
        about: "Unmount an image from a directory",
        usage: "[umount options...] <directory>",
        examples: &["umount /tmp/debian"],
        arity: Arity::Exactly(1),
        augment: mount::UmountArgs::augment_args,
        run: |matches, context| call(matches, context, mount::umount),
        ..EMPTY
    },
    Verb {
        name: "verify",
        about: "Verify digital signature(s) within an image",
        usage: "[verify options...] <image path>",
        description: "\
Verifies the signatures of a SIF image, with the keys of the OpenPGP keyring (see
key), or with a public key or certificate in a PEM file.",
        examples: &[
            "verify container.sif",
            "verify --key public.pem container.sif",
        ],
        arity: Arity::Exactly(1),
        augment: VerifyArgs::augment_args,
        run: |matches, context| call(matches, context, verify::run),
        ..EMPTY
    },
    Verb {
        name: "version",
        about: "Show the version",
        augment: WordArgs::augment_args,
        run: |matches, context| call(matches, context, version::run),
        ..EMPTY
    },
    Verb {
        name: "warm",
        about: "Fetch images into this node's cache before they are needed",
        settings: true,
        usage: "[warm options...] <image>...",
        description: warm::DESCRIPTION,
        examples: &[
            "warm https://example.org/image.sif",
            "warm --full --deadline 30s oras://registry.example.org/lab/py:3",
            "warm --files '/opt/app/**' --files '/usr/lib/**/*.so*' /net/images/app.sif",
        ],
        arity: Arity::AtLeast(1),
        augment: WarmArgs::augment_args,
        run: |matches, context| call(matches, context, warm::run),
        ..EMPTY
    },
];

/// The verb called `name`.
pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// The verbs that help texts list.
pub fn visible() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|verb| !verb.hidden)
}

/// All verbs as one clap command, for completions.
pub fn tree(program: &'static str) -> clap::Command {
    fn grow(command: clap::Command, verbs: &'static [Verb]) -> clap::Command {
        verbs
            .iter()
            .filter(|verb| !verb.hidden)
            .fold(command, |command, verb| {
                command.subcommand(grow(verb.command().about(verb.about), verb.children))
            })
    }
    grow(clap::Command::new(program), VERBS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_a_sound_clap_command() {
        fn check(verbs: &[Verb]) {
            for verb in verbs {
                verb.command().debug_assert();
                check(verb.children);
            }
        }
        check(VERBS);
        tree("skiff").debug_assert();
    }

    #[test]
    fn verbs_are_in_alphabetical_order() {
        assert!(VERBS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
