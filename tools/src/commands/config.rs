//! `config …`: the files that decide how containers run.
//!
//! ```text
//! global     apptainer.conf (or skiff.conf), directive by directive
//! fakeroot   /etc/subuid and /etc/subgid, user by user
//! show       the settings of skiff itself and where each comes from
//! file       replacing a file so that nobody ever sees half of it
//! ```

pub(crate) mod fakeroot;
pub(crate) mod file;
pub(crate) mod global;
pub(crate) mod show;

use clap::Args;

use super::EMPTY;
use crate::cli::admin::{FakerootConfigArgs, GlobalConfigArgs, ShowConfigArgs};
use crate::cli::verb::{Arity, Verb, call};

/// `config …`
pub const VERBS: &[Verb] = &[
    Verb {
        name: "fakeroot",
        about: "Manage the ids of users for --fakeroot (root user only)",
        usage: "<option> <user>",
        description: "\
Ids for --fakeroot are ranges of 65536 in /etc/subuid and /etc/subgid, which other
programs read as well. A user whose entry is disabled has it with a ! in front.",
        examples: &["config fakeroot --add ann", "config fakeroot --disable ann"],
        arity: Arity::Exactly(1),
        augment: FakerootConfigArgs::augment_args,
        run: |matches, context| call(matches, context, |args, _| fakeroot::run(args)),
        ..EMPTY
    },
    Verb {
        name: "global",
        about: "Show and change directives of the configuration file",
        usage: "<option> <directive> [value,...]",
        description: "\
The file is the one named with --config, else /etc/skiff/skiff.conf or
/etc/apptainer/apptainer.conf. Its comments and its other lines stay as they are.",
        examples: &[
            "config global --get 'bind path'",
            "config global --set 'bind path' /etc/resolv.conf",
            "config global --unset 'bind path' /etc/resolv.conf",
            "config global --dry-run --reset 'bind path'",
        ],
        arity: Arity::Between(1, 2),
        augment: GlobalConfigArgs::augment_args,
        run: |matches, context| call(matches, context, global::run),
        ..EMPTY
    },
    Verb {
        name: "show",
        about: "Show the settings of skiff itself and where each comes from",
        usage: "[show options...]",
        description: "\
Settings are variables of the environment, or keys in the file $SKIFF_CONFIG (else
~/.config/skiff/skiff.toml), or in /etc/skiff/skiff.toml; the first of these counts.",
        examples: &["config show", "config show --json"],
        arity: Arity::Exactly(0),
        augment: ShowConfigArgs::augment_args,
        run: |matches, context| call(matches, context, show::run),
        ..EMPTY
    },
];

#[cfg(test)]
mod tests {
    use skiff_launcher::config::directives::{DIRECTIVES, Effect};

    use crate::settings::KEYS;

    const PAGE: &str = include_str!("../../../docs/configuration.md");

    /// The row of the page's tables that begins with `name`.
    fn row(name: &str) -> &str {
        let start = format!("| {name} | ");
        let mut rows = PAGE.lines().filter(|line| line.starts_with(&start));
        let row = rows.next();
        assert!(rows.next().is_none(), "{name} is there twice");
        row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {name}"))
    }

    #[test]
    fn the_page_has_every_directive_and_setting() {
        for directive in DIRECTIVES {
            let row = row(directive.name);
            match directive.effect {
                Effect::Same => assert!(!row.contains("| none: "), "{row}"),
                Effect::None(why) => assert!(row.ends_with(&format!("| none: {why} |")), "{row}"),
            }
        }
        for key in KEYS {
            let row = row(key.name);
            assert!(
                row.contains(key.variable) && row.contains(key.about),
                "{row}"
            );
        }
    }
}
