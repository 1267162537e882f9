//! The verbs below `cache`.

use clap::Args;

use super::super::EMPTY;
use super::{care, clean, list, usage};
use crate::cli::cache::{CleanArgs, DuArgs, GcArgs, ImagesArgs, ListArgs};
use crate::cli::verb::{Arity, Run, Verb, call};

/// In alphabetical order.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "clean",
        about: "Clean the local cache",
        settings: true,
        usage: "[clean options...]",
        description: "Removes what is cached of images, except pinned ones.",
        examples: &[
            "cache clean --days 30",
            "cache clean --type=net,oras --force",
        ],
        augment: CleanArgs::augment_args,
        run: |matches, context| call(matches, context, clean::clean),
        ..EMPTY
    },
    Verb {
        name: "du",
        about: "Show how much the cache takes and may take",
        settings: true,
        usage: "[du options...]",
        arity: Arity::Exactly(0),
        augment: DuArgs::augment_args,
        run: |matches, context| call(matches, context, usage::du),
        ..EMPTY
    },
    Verb {
        name: "gc",
        about: "Remove what was not used for the longest time",
        settings: true,
        usage: "[gc options...]",
        description: "\
Until quota and free space are kept ($SKIFF_CACHE_QUOTA, $SKIFF_CACHE_KEEP_FREE),
or the cache takes no more than --down-to says.",
        examples: &["cache gc --down-to 10G"],
        arity: Arity::Exactly(0),
        augment: GcArgs::augment_args,
        run: |matches, context| call(matches, context, usage::gc),
        ..EMPTY
    },
    Verb {
        name: "list",
        about: "List the local cache",
        settings: true,
        usage: "[list options...]",
        examples: &["cache list --verbose", "cache list --type=net,oras --json"],
        augment: ListArgs::augment_args,
        run: |matches, context| call(matches, context, list::list),
        ..EMPTY
    },
    images_verb(
        "pin",
        "Keep images in the cache until they are unpinned",
        "<image> [image...]",
        Arity::AtLeast(1),
        |matches, context| call(matches, context, care::pin),
    ),
    images_verb(
        "unpin",
        "Let images be removed from the cache again",
        "<image> [image...]",
        Arity::AtLeast(1),
        |matches, context| call(matches, context, care::unpin),
    ),
    images_verb(
        "verify",
        "Read all that is cached, drop what is damaged, compare digests",
        "[image...]",
        Arity::Any,
        |matches, context| call(matches, context, care::verify),
    ),
];

const fn images_verb(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    arity: Arity,
    run: Run,
) -> Verb {
    Verb {
        name,
        about,
        usage,
        description: "\
An image is named by its URL or path, or by the start of its name or digest as
`cache list --verbose` and `--json` show them.",
        arity,
        augment: ImagesArgs::augment_args,
        settings: true,
        run,
        ..EMPTY
    }
}
