//! Flags of Apptainer that are known but need no code of ours: some make no difference here, the
//! others are refused in one clear line.
//!
//! A table instead of fields, since nothing but their presence matters.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::value::{Strings, int_parser};

/// How a flag takes values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A switch.
    Bool,
    /// A number.
    Int,
    /// Any text.
    Text,
    /// A comma-separated list.
    Strings,
}

/// What happens when the flag is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Makes no difference.
    Silent,
    /// Ends the program.
    Never,
}

#[derive(Clone, Copy)]
struct Row {
    long: &'static str,
    kind: Kind,
    fate: Fate,
    hidden: bool,
    help: &'static str,
}

const fn row(long: &'static str, kind: Kind, fate: Fate, help: &'static str) -> Row {
    Row {
        long,
        kind,
        fate,
        hidden: false,
        help,
    }
}

const fn hidden(row: Row) -> Row {
    Row {
        hidden: true,
        ..row
    }
}

use Fate::{Never, Silent};
use Kind::{Bool, Int, Text};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Mounts
    row("fusemount", Kind::Strings, Never, "Mount a FUSE file system in the container"),
    hidden(row("tmpdir", Text, Silent, "Directory for temporary files")),
];

/// Which of the table's flags were given with an effect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OtherFlags {
    never: Vec<&'static str>,
}

impl OtherFlags {
    /// Fails when a flag was given that cannot be honoured.
    ///
    /// # Errors
    /// One line for the user.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(flag) = self.never.first() {
            anyhow::bail!("--{flag} is not supported by skiff");
        }
        Ok(())
    }
}

impl clap::Args for OtherFlags {
    fn augment_args(command: Command) -> Command {
        ROWS.iter().fold(command, |command, row| {
            let help = match row.fate {
                Never => format!("{} (not supported)", row.help),
                Silent => row.help.to_owned(),
            };
            let argument = Arg::new(row.long)
                .long(row.long)
                .help(help)
                .hide(row.hidden);
            command.arg(match row.kind {
                Bool => argument.action(ArgAction::SetTrue),
                Int => argument.value_name("int").value_parser(int_parser()),
                Text => argument
                    .value_name("string")
                    .value_parser(clap::value_parser!(std::ffi::OsString)),
                Kind::Strings => argument
                    .value_name("strings")
                    .action(ArgAction::Append)
                    .value_parser(clap::value_parser!(Strings)),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for OtherFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for row in ROWS {
            if !has_effect(matches, row) {
                continue;
            }
            match row.fate {
                Silent => {}
                Never => self.never.push(row.long),
            }
        }
        Ok(())
    }
}

fn has_effect(matches: &ArgMatches, row: &Row) -> bool {
    if matches.value_source(row.long) != Some(clap::parser::ValueSource::CommandLine) {
        return false;
    }
    match row.kind {
        Bool => matches.get_flag(row.long),
        Int => matches
            .get_one::<i64>(row.long)
            .is_some_and(|&number| number != 0),
        Text => matches
            .get_one::<std::ffi::OsString>(row.long)
            .is_some_and(|text| !text.is_empty()),
        Kind::Strings => matches
            .get_many::<Strings>(row.long)
            .is_some_and(|mut lists| lists.any(|list| !list.0.is_empty())),
    }
}

/// Kinds of the table's flags, for their environment variables.
pub fn kind_of(long: &str) -> Option<Kind> {
    ROWS.iter().find(|row| row.long == long).map(|row| row.kind)
}
