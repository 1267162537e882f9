//! Running a shell that says what it does (`sh -x`), and knowing afterwards what it did last.
//!
//! What it says passes through a pipe of ours, unless it goes to a terminal, where programs behave
//! differently and the user has the line before his eyes anyway. Where standard output and standard
//! error are one file, both go through the one pipe, so that lines keep their order.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::Stat;

use crate::definition::Section;
use crate::text::os_error;

/// As much of the end of what is said as is kept.
const KEPT: usize = 64 * 1024;

/// How long it is waited for the rest once the shell has ended: processes that it leaves behind may
/// hold the pipe for ever.
const PATIENCE: Duration = Duration::from_millis(200);

/// How a program failed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Failure {
    /// In Go's words.
    pub(super) reason: String,
    /// The last command that a shell said it was going to run.
    pub(super) command: Option<String>,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            command: None,
        }
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// How it failed.
pub(super) fn run(mut command: Command) -> Result<(), Failure> {
    if rustix::termios::isatty(io::stderr()) {
        return judge(command.status());
    }
    let failed = |error: io::Error| Failure::from(os_error(&error));
    let (hear, say) = io::pipe().map_err(failed)?;
    if are_one() {
        command.stdout(say.try_clone().map_err(failed)?);
    }
    command.stderr(say);
    let child = command.spawn();
    // With it go our own ends for writing.
    drop(command);
    let mut child = child.map_err(failed)?;
    let (tell, told) = mpsc::channel();
    let to = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    std::thread::Builder::new()
        .name("listen".to_owned())
        .spawn(move || pass_on(hear, to, &tell))
        .map_err(failed)?;
    let status = child.wait();
    let mut said = Vec::new();
    while let Ok(more) = told.recv_timeout(PATIENCE) {
        keep(&mut said, &more);
    }
    judge(status).map_err(|failure| Failure {
        command: last_command(&String::from_utf8_lossy(&said)),
        ..failure
    })
}

/// Whether standard output and standard error are one file.
fn are_one() -> bool {
    let same = |one: Stat, other: Stat| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
    match (
        rustix::fs::fstat(io::stdout()),
        rustix::fs::fstat(io::stderr()),
    ) {
        (Ok(one), Ok(other)) => same(one, other),
        _ => false,
    }
}

fn pass_on(mut from: PipeReader, to: OwnedFd, tell: &mpsc::Sender<Vec<u8>>) {
    let mut to = File::from(to);
    let mut buffer = vec![0; KEPT];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let Some(text) = buffer.get(..length) else {
            return;
        };
        // Nobody reads what the build says: it goes on all the same.
        let _lost = to.write_all(text);
        if tell.send(text.to_vec()).is_err() {
            return;
        }
    }
}

fn keep(said: &mut Vec<u8>, more: &[u8]) {
    said.extend_from_slice(more);
    let surplus = said.len().saturating_sub(KEPT);
    said.drain(..surplus);
}

/// Go's words for how a program ended.
fn judge(status: io::Result<ExitStatus>) -> Result<(), Failure> {
    let status = status.map_err(|error| os_error(&error))?;
    let reason = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    };
    Err(reason.into())
}

/// The last line with the sign that shells put before commands.
fn last_command(said: &str) -> Option<String> {
    said.lines()
        .rev()
        .filter_map(|line| {
            line.trim_start_matches('+')
                .strip_prefix(' ')
                .filter(|_| line.starts_with('+'))
        })
        .map(str::trim)
        .find(|command| !command.is_empty())
        .map(str::to_owned)
}

/// The line of `section` that `command` most likely is, by its number in the file.
pub(super) fn line_of(section: &Section, command: &str) -> Option<usize> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let first = *words.first()?;
    let mut best: Option<(usize, usize)> = None;
    for (line, text) in (1..).zip(section.body.lines()) {
        let text = text.trim();
        if text.starts_with('#') {
            continue;
        }
        let score = if text == command {
            usize::MAX
        } else if text
            .split(|c: char| !is_of_word(c))
            .any(|word| word == bare(first))
        {
            words
                .iter()
                .filter(|word| text.contains(bare(word)))
                .count()
        } else {
            0
        };
        if score > best.map_or(0, |(_, best)| best) {
            best = Some((line, score));
        }
    }
    best.map(|(line, _)| section.file_line(line))
}

fn is_of_word(character: char) -> bool {
    !character.is_whitespace() && !"'\"`;|&()<>".contains(character)
}

/// Without the quotes that the shell puts around.
fn bare(word: &str) -> &str {
    word.trim_matches(['\'', '"'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_were_last() {
        assert_eq!(
            last_command("+ a b\nx\n++ c d\nerror\n").as_deref(),
            Some("c d")
        );
        assert_eq!(last_command("+x\n+ y\n").as_deref(), Some("y"));
        assert_eq!(last_command("nothing\n"), None);
    }

    #[test]
    fn lines_of_commands() {
        let mut section = Section::default();
        section.append(
            "echo a\n# false\nif true; then\n  false\nfi\ncp \"$A\" /x && ls\n",
            10,
        );
        let line = |command| line_of(&section, command);
        assert_eq!(line("echo a"), Some(11));
        assert_eq!(line("false"), Some(14));
        assert_eq!(line("cp '/some where' /x"), Some(16));
        assert_eq!(line("unknown"), None);
    }

    #[test]
    fn the_end_is_kept() {
        let mut said = Vec::new();
        keep(&mut said, &vec![b'a'; KEPT]);
        keep(&mut said, b"end");
        assert_eq!(said.len(), KEPT);
        assert!(said.ends_with(b"aend"));
    }
}
