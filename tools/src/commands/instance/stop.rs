//! `instance stop`.

use std::time::Duration;

use skiff_launcher::instance::stop::{self as launcher, Event, Manner};

use super::{folder_of, matching, switch, text};
use crate::cli::Context;
use crate::cli::instance::StopArgs;
use crate::commands::cache::list::plain;
use crate::exit::{CommandError, ExitStatus};
use crate::output;

/// Seconds until an instance is killed.
const DEFAULT_TIMEOUT: i64 = 10;

/// `instance stop [PATTERN]`
///
/// # Errors
/// There is no such instance, or it is another user's.
pub fn stop(args: &StopArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let all = switch(args.all, "ALL", context);
    let word = args.words.first().map(|word| word.to_string_lossy());
    let pattern = match &word {
        _ if all => "*",
        Some(word) => word,
        None => return Err(CommandError("invalid command".to_owned()).into()),
    };
    let user = args.user.clone().or_else(|| text("USER", context));
    let wanted = args.signal.clone().or_else(|| text("SIGNAL", context));
    let mut signal = match wanted.filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => number(&wanted)
            .map_err(|reason| anyhow::anyhow!("Could not convert stop signal: {reason}"))?,
        None => libc::SIGINT,
    };
    if switch(args.force, "FORCE", context) {
        signal = libc::SIGKILL;
    }
    let folder = folder_of(user.as_deref(), "stop", context)?;
    let found = matching(&folder, pattern, all)?;
    if found.is_empty() {
        return Err(CommandError("no instance found".to_owned()).into());
    }
    let seconds = args.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let manner = Manner {
        signal,
        patience: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    };
    launcher::stop(&folder, found, manner, &mut |event| match event {
        Event::Stopping(record) => output::info(format_args!(
            "Stopping {} instance of {} (PID={})",
            record.name,
            plain(&record.image),
            record.pid
        )),
        Event::Killing(record) => output::info(format_args!(
            "Killing {} instance of {} (PID={}) (Timeout)",
            record.name,
            plain(&record.image),
            record.pid
        )),
    });
    Ok(ExitStatus::Success)
}

/// The number of the signal called `text`: a name with or without SIG, or a number.
fn number(text: &str) -> Result<i32, String> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let number: i32 = text
        .parse()
        .map_err(|_| format!("{text} is not a number"))?;
    if NAMES.iter().any(|(_, known)| *known == number) {
        Ok(number)
    } else {
        Err(format!("can't convert {number} to signal number"))
    }
}

const NAMES: [(&str, i32); 33] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, signal) in [
            ("TERM", libc::SIGTERM),
            ("sigterm", libc::SIGTERM),
            ("15", libc::SIGTERM),
            ("SIGKILL", libc::SIGKILL),
        ] {
            assert_eq!(number(text), Ok(signal));
        }
        assert_eq!(number("FOO").unwrap_err(), "FOO is not a number");
        assert_eq!(
            number("99").unwrap_err(),
            "can't convert 99 to signal number"
        );
        assert!(number("0").is_err() && number("-1").is_err() && number("").is_err());
    }
}
