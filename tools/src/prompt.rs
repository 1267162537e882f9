//! Questions to whoever sits at the terminal.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, SpecialCodes, tcgetattr, tcsetattr,
};
use skiff_launcher::kernel;

use crate::output;

/// Between two looks for signals while nothing is typed.
const SIGNAL_PERIOD_NS: i64 = 200_000_000;

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

/// Asks for a line on standard output, as the commands about keys do; nothing more to read is an
/// empty answer.
///
/// # Errors
/// When standard input or output fails.
pub fn answer(question: &str) -> anyhow::Result<String> {
    output::stdout(question)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for something that is not shown while it is typed; takes it from a pipe as well.
///
/// # Errors
/// When standard input or output fails.
pub fn hidden(question: &str) -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        return secret(question);
    }
    let text = answer(question)?;
    output::stdout("\n")?;
    Ok(text)
}

/// Asks for one of the numbers from 0 up to below `count`.
///
/// # Errors
/// When it is none, as Go words it.
pub fn number(question: &str, count: usize) -> anyhow::Result<usize> {
    let answer = answer(question)?;
    let number: i64 = match answer.parse() {
        Ok(number) => number,
        Err(_) => bail!("strconv.ParseInt: parsing {answer:?}: invalid syntax"),
    };
    match usize::try_from(number) {
        Ok(number) if number < count => Ok(number),
        _ => bail!("invalid choice"),
    }
}

/// Asks for a line that is not shown while it is typed. Keys that would end or stop this process do
/// so with the terminal as it was before: a shell must not be left mute.
///
/// # Errors
/// When standard input ends or is no terminal.
pub fn secret(question: &str) -> anyhow::Result<String> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).context("the terminal cannot be told not to show a password")?;
    let mut silent = before.clone();
    // Neither lines nor signals: what Ctrl-C and Ctrl-Z mean is done here.
    let modes = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    silent.local_modes.remove(modes);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    let mut typed = Typed::default();
    loop {
        // Signals from elsewhere act when the terminal is as it was.
        let mask = kernel::block_signals()?;
        let asked = tcsetattr(&stdin, OptionalActions::Flush, &silent);
        let end = asked.map_err(io::Error::from).and_then(|()| {
            output::stderr(question);
            type_in(&mut typed, &before.special_codes)
        });
        let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
        output::stderr("\n");
        kernel::restore_signals(&mask)?;
        restored?;
        match end? {
            // Whoever does not mind it is asked anew.
            End::Pending => typed = Typed::default(),
            End::Line => return typed.text(),
            End::Input => bail!("standard input ended where an answer was expected"),
            End::Signal(signal) => {
                // As the terminal would: to all that run in front of it.
                kill_current_process_group(signal)?;
                // Whoever comes back from being stopped, or does not mind, is asked anew.
                typed = Typed::default();
            }
        }
    }
}

/// Why nothing more is typed.
#[derive(Debug)]
enum End {
    Line,
    Input,
    Signal(Signal),
    /// A signal waits for being let through.
    Pending,
}

/// What was typed so far.
#[derive(Debug, Default)]
struct Typed(Vec<u8>);

impl Typed {
    fn text(self) -> anyhow::Result<String> {
        String::from_utf8(self.0).context("what was typed is no UTF-8 text")
    }

    /// Takes a key; `Some` when it is the last.
    fn key(&mut self, key: u8, codes: &SpecialCodes) -> Option<End> {
        let is = |index| codes[index] == key && key != 0;
        if matches!(key, b'\n' | b'\r') {
            return Some(End::Line);
        }
        for (index, signal) in [
            (SpecialCodeIndex::VINTR, Signal::INT),
            (SpecialCodeIndex::VQUIT, Signal::QUIT),
            (SpecialCodeIndex::VSUSP, Signal::TSTP),
        ] {
            if is(index) {
                return Some(End::Signal(signal));
            }
        }
        if is(SpecialCodeIndex::VEOF) {
            let empty = self.0.is_empty();
            return Some(if empty { End::Input } else { End::Line });
        }
        if is(SpecialCodeIndex::VERASE) || matches!(key, 0x08 | 0x7f) {
            // A letter, which may be of several bytes.
            while self.0.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
        } else if is(SpecialCodeIndex::VKILL) {
            self.0.clear();
        } else {
            self.0.push(key);
        }
        None
    }
}

fn type_in(typed: &mut Typed, codes: &SpecialCodes) -> io::Result<End> {
    let stdin = io::stdin();
    let period = Timespec {
        tv_sec: 0,
        tv_nsec: SIGNAL_PERIOD_NS,
    };
    let mut key = [0];
    loop {
        let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut watched, Some(&period)) {
            Ok(0) if is_signalled() => return Ok(End::Pending),
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match rustix::io::read(&stdin, &mut key) {
            Ok(0) => return Ok(End::Input),
            Ok(_) => {
                let [key] = key;
                if let Some(end) = typed.key(key, codes) {
                    return Ok(end);
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether the calling thread is kept from a signal that would end it. Without /proc it is not known:
/// the signal then waits for the end of the line.
fn is_signalled() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = |name: &str| {
        let mut lines = status.lines();
        let mask = lines.find_map(|line| line.strip_prefix(name));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    };
    let ending = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::TERM,
    ];
    let ending = ending
        .iter()
        .fold(0, |set, signal| set | 1_u64 << (signal.as_raw() - 1));
    (mask("SigPnd:") | mask("ShdPnd:")) & ending & !mask("SigIgn:") != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_end_and_interrupt() {
        // As terminals are set when nobody has changed anything.
        let (_controller, terminal) = terminal();
        let codes = tcgetattr(&terminal).unwrap().special_codes;
        let typed = |keys: &[u8]| {
            let mut typed = Typed::default();
            let end = keys.iter().find_map(|key| typed.key(*key, &codes));
            let end = match end {
                None => "more".to_owned(),
                Some(end) => format!("{end:?}"),
            };
            (end, typed.text().unwrap())
        };
        let wanted = |end: &str, text: &str| (end.to_owned(), text.to_owned());
        assert_eq!(typed(b"secret\rmore"), wanted("Line", "secret"));
        assert_eq!(typed(b"secxx\x7f\x08ret\n"), wanted("Line", "secret"));
        assert_eq!(
            typed("s\u{e4}\x7f\x7f\x7fx\n".as_bytes()),
            wanted("Line", "x")
        );
        assert_eq!(typed(b"wrong\x15right\n"), wanted("Line", "right"));
        assert_eq!(typed(b"\x04").0, "Input");
        assert_eq!(typed(b"sec\x04"), wanted("Line", "sec"));
        assert!(typed(b"sec\x03").0.starts_with("Signal"));
        assert!(typed(b"\x1a").0.starts_with("Signal"));
        assert_eq!(typed(b"sec").0, "more");
    }

    fn terminal() -> (rustix::fd::OwnedFd, rustix::fd::OwnedFd) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let terminal = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        (controller, terminal)
    }
}
