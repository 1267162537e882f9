//! `skiff doctor`: can containers run here, how well, and which line mends what is missing.
//!
//! Three steps, so that the rules can be tested without a sick machine: [`facts`] asks the host (it
//! tries the real thing in a child process, because settings alone do not tell), [`judge`] turns facts
//! into checks and is pure, this file prints them.

mod accounts;
mod check;
mod disk;
mod facts;
mod judge;
mod sys;
mod trial;

pub use check::{Check, Verdict};
pub use facts::Facts;

use crate::exit::ExitStatus;
use crate::output;
use anyhow::{Context, Result};

/// Options of `skiff doctor`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct DoctorArgs {
    /// Print the checks as JSON
    #[arg(long)]
    pub json: bool,
}

/// Examines the host, prints the checks, and succeeds when `exec` can work.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &DoctorArgs) -> Result<ExitStatus> {
    let checks = examine();
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&checks).context("encoding the checks")?;
        text.push('\n');
        text
    } else {
        render(&checks)
    };
    output::stdout(text).context("writing the checks")?;
    Ok(if can_run(&checks) {
        ExitStatus::Success
    } else {
        ExitStatus::Code(1)
    })
}

/// All checks of this host.
pub fn examine() -> Vec<Check> {
    judge::judge(&Facts::probe())
}

/// Whether nothing stands in the way of `exec`.
pub fn can_run(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Fail)
}

/// The checks as lines: verdict, name, finding; below it what that means, and the remedy if any.
pub fn render(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    for check in checks {
        let verdict = check.verdict.word();
        lines.push(format!(
            "{verdict:<5} {:<width$}  {}",
            check.name, check.finding
        ));
        lines.push(format!("      {:<width$}    {}", "", check.meaning));
        if let Some(remedy) = &check.remedy {
            lines.push(format!("      {:<width$}    mend it: {remedy}", ""));
        }
    }
    let count = |verdict| {
        checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    lines.push(String::new());
    lines.push(match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => "Containers run here, with everything skiff can do.".to_owned(),
        (0, warned) => {
            format!("Containers run here; lines marked warn ({warned}) could be better.")
        }
        (failed, _) => {
            format!("Containers cannot run here until the lines marked fail ({failed}) are mended.")
        }
    });
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_follow_what_they_mend() {
        let checks = [
            Check::ok("kernel", "6.18", "new enough"),
            Check::fail("fuse-device", "missing", "no image can be mounted")
                .mend("sudo modprobe fuse"),
        ];
        let text = render(&checks);
        assert!(text.starts_with("ok    kernel       6.18\n"), "{text}");
        assert!(text.contains("\nfail  fuse-device  missing\n"), "{text}");
        assert!(text.contains("mend it: sudo modprobe fuse"), "{text}");
        assert!(!can_run(&checks));
    }

    #[test]
    fn every_check_of_this_host_says_what_it_means() {
        for check in examine() {
            assert!(
                !check.finding.is_empty() && !check.meaning.is_empty(),
                "{check:?}"
            );
        }
    }
}
