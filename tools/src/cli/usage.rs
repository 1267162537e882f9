//! What is wrong with a command line, in Apptainer's words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::commands;

/// The line that names the command.
pub fn error_line(command: &str, reason: &str) -> String {
    format!("Error for command \"{command}\": {reason}\n\n")
}

/// Words clap's `error` about `arguments`.
pub fn reason(error: &clap::Error, arguments: &[OsString]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let argument = text(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            let name = argument.split('=').next().unwrap_or(argument);
            format!("unknown flag: {name}")
        }
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            format!("unexpected argument {argument:?}")
        }
        ErrorKind::UnknownArgument => {
            let letter = argument
                .trim_start_matches('-')
                .chars()
                .next()
                .unwrap_or('-');
            format!(
                "unknown shorthand flag: '{letter}' in -{}",
                cluster(letter, arguments)
            )
        }
        ErrorKind::ValueValidation => match error.get(ContextKind::Custom) {
            Some(ContextValue::String(why)) => format!(
                "invalid argument {} for \"{}\" flag: {why}",
                text(ContextKind::InvalidValue),
                argument
            ),
            _ => error.to_string(),
        },
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            missing_value(argument, arguments)
        }
        _ => error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// The rest of the cluster of short flags that begins with `letter`.
fn cluster(letter: char, arguments: &[OsString]) -> String {
    arguments
        .iter()
        .map(|argument| argument.to_string_lossy())
        .filter(|argument| argument.starts_with('-') && !argument.starts_with("--"))
        .find_map(|argument| {
            argument
                .find(letter)
                .map(|start| argument[start..].to_owned())
        })
        .unwrap_or_else(|| letter.to_string())
}

/// `--pid` from clap's rendering of an argument, such as `--pid[=<PID>]`.
fn flag_name(rendered: &str) -> &str {
    rendered
        .split(['[', '<', '=', ' '])
        .next()
        .unwrap_or(rendered)
}

fn missing_value(argument: &str, arguments: &[OsString]) -> String {
    let last = arguments.last().map_or(OsStr::new(""), OsString::as_os_str);
    match last.as_bytes() {
        [b'-', b'-', ..] | [] => {
            format!("flag needs an argument: {}", flag_name(argument))
        }
        _ => {
            let letter = last.to_string_lossy().chars().next_back().unwrap_or('-');
            format!("flag needs an argument: '{letter}' in -{letter}")
        }
    }
}

/// For a verb that does not exist, with those that were perhaps meant.
pub fn unknown_verb(program: &str, word: &OsStr) -> String {
    let typed = word.to_string_lossy();
    let mut text = format!("Error: unknown command {typed:?} for \"{program}\"\n");
    let near: Vec<&str> = commands::visible()
        .map(|verb| verb.name)
        .filter(|name| {
            distance(&typed.to_lowercase(), name) <= 2 || name.starts_with(&*typed.to_lowercase())
        })
        .collect();
    if !near.is_empty() {
        text.push_str("\nDid you mean this?\n");
        for name in near {
            text.push_str(&format!("\t{name}\n"));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

/// Number of letters to insert, delete or replace to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in b.iter().enumerate() {
            let above = row[column + 1];
            let replaced = diagonal + usize::from(letter != *other);
            row[column + 1] = replaced.min(above + 1).min(row[column] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("exe", "exec", 1),
            ("test", "text", 1),
            ("run", "pull", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn names() {
        for (rendered, expected) in [
            ("--env <stringToString>", "--env"),
            ("--pid[=<PID>]", "--pid"),
            ("--x=<y>", "--x"),
        ] {
            assert_eq!(flag_name(rendered), expected);
        }
    }
}
