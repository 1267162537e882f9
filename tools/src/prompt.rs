//! Questions to whoever sits at the terminal.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::output;

/// Asks for user name and password, the latter without showing it.
///
/// # Errors
/// When standard input is not a terminal, or ends.
pub fn credentials() -> anyhow::Result<(String, String)> {
    if !io::stdin().is_terminal() {
        bail!("a user name and password are asked for, but standard input is not a terminal");
    }
    let username = line("Username: ")?;
    let password = secret("Password: ")?;
    Ok((username, password))
}

/// Asks for a line.
///
/// # Errors
/// When standard input ends.
pub fn line(question: &str) -> anyhow::Result<String> {
    output::stderr(question);
    let mut answer = String::new();
    let count = io::stdin().lock().read_line(&mut answer)?;
    if count == 0 {
        bail!("standard input ended where an answer was expected");
    }
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for a line that is not shown while it is typed.
///
/// # Errors
/// When standard input ends or is no terminal.
pub fn secret(question: &str) -> anyhow::Result<String> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).context("the terminal cannot be told not to show a password")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let answer = line(question);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    output::stderr("\n");
    answer
}
