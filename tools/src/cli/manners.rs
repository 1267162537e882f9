//! How clap is brought to read command lines as Apptainer does.

use std::ffi::OsString;

use clap::{ArgAction, ArgMatches, Command};

use super::value;

/// Gives a command Apptainer's manners; flags end at the first positional word, switches
/// take `=false`, the last of two counts.
pub fn obey(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .color(clap::ColorChoice::Never)
        .arg(
            clap::Arg::new("help")
                .long("help")
                .short('h')
                .action(ArgAction::SetTrue)
                .help("Print help"),
        )
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .default_value("false")
                .value_parser(value::bool_parser()),
            _ if argument.is_positional() => argument,
            // A value is a value, whatever it looks like.
            _ => argument.num_args(1).allow_hyphen_values(true),
        })
}

/// Parses `arguments`, which do not begin with the program's name.
///
/// # Errors
/// clap's, to be worded by [`super::usage`].
pub fn parse(command: &mut Command, arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let program = OsString::from(command.get_name().to_owned());
    command.try_get_matches_from_mut(std::iter::once(program).chain(arguments.iter().cloned()))
}

/// The positional words, which every verb that has some calls `words`.
pub fn words_of(matches: &ArgMatches) -> Vec<&OsString> {
    matches
        .try_get_many::<OsString>("words")
        .ok()
        .flatten()
        .map_or_else(Vec::new, Iterator::collect)
}

/// The part of `arguments` before its last `words` ones, without the `--` that may end it.
pub fn flags_of<'a>(command: &Command, arguments: &'a [OsString], words: usize) -> &'a [OsString] {
    let flags = &arguments[..arguments.len().saturating_sub(words)];
    match flags.split_last() {
        // Unless it is the value of the flag before it.
        Some((last, before)) if last == "--" && parse(&mut command.clone(), before).is_ok() => {
            before
        }
        _ => flags,
    }
}
