//! `capability …`: which capabilities users and groups may add to their containers.

mod avail;
mod manage;

use clap::Args;

use super::EMPTY;
use crate::cli::admin::{CapabilityArgs, NameArgs};
use crate::cli::verb::{Arity, Verb, call};

/// `capability …`
pub const VERBS: &[Verb] = &[
    Verb {
        name: "add",
        about: "Add capabilities to a user or group (requires root)",
        usage: "[add options...] <capabilities>",
        description: "\
Capabilities are separated by commas, in capitals or not, with CAP_ or without.
Whoever has one may well be able to get all of root's power over this machine.",
        examples: &[
            "capability add --user nobody NET_RAW,chown",
            "capability add --group nobody all",
        ],
        arity: Arity::Exactly(1),
        augment: CapabilityArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| manage::add(args)),
        ..EMPTY
    },
    Verb {
        name: "avail",
        about: "Show description for available capabilities",
        usage: "[capabilities]",
        examples: &["capability avail", "capability avail CAP_CHOWN,NET_RAW"],
        arity: Arity::Between(0, 1),
        augment: NameArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| avail::run(args)),
        ..EMPTY
    },
    Verb {
        name: "drop",
        about: "Remove capabilities from a user or group (requires root)",
        usage: "[drop options...] <capabilities>",
        examples: &[
            "capability drop --user nobody NET_RAW",
            "capability drop --group nobody all",
        ],
        arity: Arity::Exactly(1),
        augment: CapabilityArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| manage::drop(args)),
        ..EMPTY
    },
    Verb {
        name: "list",
        about: "Show capabilities for a given user or group",
        usage: "[user/group]",
        examples: &["capability list", "capability list nobody"],
        arity: Arity::Between(0, 1),
        augment: NameArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| manage::list(args)),
        ..EMPTY
    },
];
