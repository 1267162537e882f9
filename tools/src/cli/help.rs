//! Help texts, laid out as Apptainer's are.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use super::verb::Verb;
use crate::commands;
use crate::program::Personality;

/// Columns of the terminal.
const WIDTH: usize = 80;

/// Widest name column; longer names push their text to the right of it.
const NAMES_WIDTH: usize = 38;

/// Help for the whole program.
pub fn program(personality: Personality, command: &Command) -> String {
    let name = personality.name();
    let mut text = format!(
        "\nRuns container images on demand, without root: SIF and squashfs images and directories.\n\
         \nUsage:\n  {name} [global options...]\n\nDescription:\n  \
         An image is mounted the moment a program of it starts, by a file system server that all\n  \
         programs of this image share, and unmounted some time after the last one ended.\n\n\
         Options:\n"
    );
    text.push_str(&options(command));
    text.push('\n');
    text.push_str(&listing(commands::visible()));
    text.push_str(&format!(
        "\nExamples:\n  $ {name} help <command> [<subcommand>]\n  $ {name} help exec\n  \
         $ {name} exec image.sif ls /\n"
    ));
    text
}

/// The short overview that follows a missing or unknown verb.
pub fn verbs(personality: Personality) -> String {
    let name = personality.name();
    format!(
        "Usage:\n  {name} [global options...] <command>\n\n{}\n\
         Run '{name} --help' for more detailed usage information.\n",
        listing(commands::visible())
    )
}

/// What `help WORDS…` prints: as far down as the words lead.
pub fn topic(personality: Personality, root: &Command, words: &[OsString]) -> String {
    let mut path = Vec::new();
    let mut found: Option<&'static Verb> = None;
    for word in words {
        let next = match found {
            None => word.to_str().and_then(commands::find),
            Some(verb) => verb.children.iter().find(|child| *word == *child.name),
        };
        let Some(verb) = next else { break };
        path.push(verb.name);
        found = Some(verb);
    }
    match found {
        Some(leaf) => verb(personality, &path, leaf, &leaf.command()),
        None => program(personality, root),
    }
}

/// Help for one verb.
pub fn verb(personality: Personality, path: &[&str], verb: &Verb, command: &Command) -> String {
    let name = personality.name();
    let mut text = format!("{}\n\nUsage:\n  {}\n", verb.about, usage(name, path, verb));
    if !verb.description.is_empty() {
        text.push_str("\nDescription:\n");
        for line in verb.description.lines() {
            text.push_str(&format!("{}\n", format!("  {line}").trim_end()));
        }
    }
    text.push_str("\nOptions:\n");
    text.push_str(&options(command));
    if !verb.children.is_empty() {
        text.push('\n');
        text.push_str(&listing(verb.children.iter().filter(|child| !child.hidden)));
    }
    if !verb.examples.is_empty() {
        text.push_str("\nExamples:\n");
        for example in verb.examples {
            text.push_str(&format!("  $ {name} {example}\n"));
        }
    }
    text
}

/// What follows an error about a flag.
pub fn options_after_error(personality: Personality, verb: &str, command: &Command) -> String {
    format!(
        "Options for {verb} command:\n\n{}\n{}",
        options(command),
        more(personality)
    )
}

/// What follows an error about the words.
pub fn usage_after_error(personality: Personality, path: &[&str], verb: &Verb) -> String {
    let name = format!("{} [global options...]", personality.name());
    let mut text = format!("Usage:\n  {}\n\n", usage(&name, path, verb));
    if !verb.children.is_empty() {
        text.push_str(&listing(verb.children.iter().filter(|child| !child.hidden)));
        text.push('\n');
    }
    text.push_str(&more(personality));
    text
}

fn more(personality: Personality) -> String {
    format!(
        "Run '{} --help' for more detailed usage information.\n",
        personality.name()
    )
}

fn usage(program: &str, path: &[&str], verb: &Verb) -> String {
    let mut line = format!("{program} {}", path.join(" "));
    if !verb.usage.is_empty() {
        line.push(' ');
        line.push_str(verb.usage);
    }
    line
}

fn listing<'a>(verbs: impl Iterator<Item = &'a Verb>) -> String {
    let mut rows: Vec<&Verb> = verbs.collect();
    rows.sort_by_key(|verb| verb.name);
    let mut text = String::from("Available Commands:\n");
    for verb in rows {
        text.push_str(&format!("  {:<11} {}\n", verb.name, verb.about));
    }
    text
}

/// The flags of a command with their explanations, in alphabetical order.
fn options(command: &Command) -> String {
    let mut rows: Vec<(String, String, String)> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && !argument.is_positional())
        .filter_map(|argument| {
            let long = argument.get_long()?;
            Some((
                long.to_owned(),
                names(argument, long),
                explanation(argument),
            ))
        })
        .collect();
    rows.sort();
    let longest = rows
        .iter()
        .map(|(_, names, _)| names.len())
        .max()
        .unwrap_or(0);
    let column = (longest + 3).min(NAMES_WIDTH);
    let mut text = String::new();
    for (_, names, explanation) in rows {
        let mut line = format!("{names:<column$}");
        if names.len() + 1 > column {
            line.push(' ');
        }
        for (number, part) in wrap(&explanation, WIDTH - column).into_iter().enumerate() {
            if number > 0 {
                line = " ".repeat(column);
            }
            text.push_str(&format!("{line}{part}\n"));
        }
    }
    text
}

fn names(argument: &Arg, long: &str) -> String {
    let mut text = match argument.get_short() {
        Some(letter) => format!("  -{letter}, --{long}"),
        None => format!("      --{long}"),
    };
    // A switch has a value too, but only behind `=`.
    if !argument.is_require_equals_set()
        && let Some([name, ..]) = argument.get_value_names()
        && !matches!(argument.get_action(), ArgAction::SetTrue)
    {
        text.push_str(&format!(" {name}"));
    }
    text
}

fn explanation(argument: &Arg) -> String {
    argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
            } else if line.len() + 1 + word.len() <= width {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("abcdefg h", 3), ["abcdefg", "h"]);
    }
}
