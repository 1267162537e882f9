//! The verbs below `sif`.

use clap::Args;

use super::super::EMPTY;
use super::change;
use crate::cli::image::{SifAddArgs, SifArgs};
use crate::cli::verb::{Arity, Run, Verb, call};

const fn sif_verb(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    words: usize,
    run: Run,
) -> Verb {
    Verb {
        name,
        about,
        usage,
        arity: Arity::Exactly(words),
        augment: SifArgs::augment_args,
        run,
        ..EMPTY
    }
}

/// In alphabetical order.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        augment: SifAddArgs::augment_args,
        examples: &[
            "sif add image.sif recipe.def --datatype 1",
            "sif add image.sif rootfs.squashfs --datatype 4 --parttype 1 --partfs 1 --partarch 2",
        ],
        ..sif_verb(
            "add",
            "Add data object",
            "<sif_path> <object_path>",
            2,
            |matches, context| call(matches, context, change::add),
        )
    },
    sif_verb(
        "del",
        "Delete data object",
        "<id> <sif_path>",
        2,
        |matches, context| call(matches, context, change::del),
    ),
    sif_verb(
        "dump",
        "Dump data object",
        "<id> <sif_path>",
        2,
        |matches, context| call(matches, context, super::dump),
    ),
    sif_verb(
        "header",
        "Display global header",
        "<sif_path>",
        1,
        |matches, context| call(matches, context, super::header),
    ),
    sif_verb(
        "info",
        "Display data object info",
        "<id> <sif_path>",
        2,
        |matches, context| call(matches, context, super::info),
    ),
    sif_verb(
        "list",
        "List data objects",
        "<sif_path>",
        1,
        |matches, context| call(matches, context, super::list),
    ),
    sif_verb(
        "new",
        "Create SIF image",
        "<sif_path>",
        1,
        |matches, context| call(matches, context, change::new),
    ),
    sif_verb(
        "setprim",
        "Set primary system partition",
        "<id> <sif_path>",
        2,
        |matches, context| call(matches, context, change::setprim),
    ),
];
