//! `config fakeroot`: who has ids for `--fakeroot`, in /etc/subuid and /etc/subgid.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use skiff_launcher::accounts;

use super::file::Held;
use crate::cli::admin::{FakerootConfigArgs, word};
use crate::exit::{CommandError, ExitStatus};
use crate::text::os_error;

/// The two files.
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// Ids that `--fakeroot` needs.
const COUNT: u64 = 65536;

/// New ranges are looked for downwards from here, far from people's ids…
const HIGHEST: u64 = (1 << 32) - 131_072;

/// …to here.
const LOWEST: u64 = 65536;

/// What is done to a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Add,
    Remove,
    Enable,
    Disable,
}

impl Change {
    const fn doing(self) -> &'static str {
        match self {
            Self::Add => "adding",
            Self::Remove => "removing",
            Self::Enable => "enabling",
            Self::Disable => "disabling",
        }
    }
}

/// `config fakeroot`
///
/// # Errors
/// Not root, an unknown user, one without an entry, files that cannot be written.
pub(crate) fn run(args: &FakerootConfigArgs) -> anyhow::Result<ExitStatus> {
    if !rustix::process::geteuid().is_root() {
        bail!("\"apptainer config fakeroot\" command requires root privileges");
    }
    let change = match args {
        _ if args.add => Change::Add,
        _ if args.remove => Change::Remove,
        _ if args.enable => Change::Enable,
        _ if args.disable => Change::Disable,
        _ => bail!(CommandError(
            "you must specify an option (eg: --add/--remove)".to_owned()
        )),
    };
    let user = &word(&args.words, 0);
    let uid = accounts::user(user)
        .map(|(uid, _)| uid)
        .ok_or_else(|| {
            anyhow!("could not retrieve user information for {user}: user: unknown user {user}")
        })
        .with_context(|| format!("while {} {user}", change.doing()))?;
    change_files(FILES.map(Path::new), change, user, uid)?;
    Ok(ExitStatus::Success)
}

/// Changes both files, or neither where one does not allow it.
fn change_files(files: [&Path; 2], change: Change, user: &str, uid: u32) -> anyhow::Result<()> {
    let mut ready = Vec::new();
    for file in files {
        let opening = |error: std::io::Error| {
            anyhow!(
                "while opening {0}: failed to open: {0}: {1}",
                file.display(),
                os_error(&error)
            )
        };
        let held = Held::open(file, true).map_err(opening)?;
        let text = held.text().map_err(opening)?;
        let entries = Entries {
            file,
            user,
            uid,
            text: &text,
        };
        let changed = entries
            .changed(change)
            .with_context(|| format!("while {} {user}", change.doing()))?;
        if let Some(changed) = changed {
            ready.push((held, changed, file));
        }
    }
    for (held, text, file) in ready {
        held.replace(&text).map_err(|error| {
            anyhow!(
                "while writing configuration: {}: {}",
                file.display(),
                os_error(&error)
            )
        })?;
    }
    Ok(())
}

/// One of the files, and whose entry is looked for.
struct Entries<'a> {
    file: &'a Path,
    user: &'a str,
    uid: u32,
    text: &'a str,
}

/// A line's user, start and count.
fn parse(line: &str) -> Option<(&str, u64, u64)> {
    let mut fields = line.trim().split(':');
    let user = fields.next()?;
    let start = fields.next()?.parse().ok()?;
    let count = fields.next()?.parse().ok()?;
    Some((user.strip_prefix('!').unwrap_or(user), start, count))
}

impl Entries<'_> {
    /// The number of the line with the user's ids: one of exactly the right size, else the largest.
    fn find(&self) -> anyhow::Result<usize> {
        let uid = self.uid.to_string();
        let own: Vec<(usize, u64)> = self
            .text
            .lines()
            .enumerate()
            .filter_map(|(number, line)| Some((number, parse(line)?)))
            .filter(|(_, (name, _, count))| (*name == self.user || *name == uid) && *count > 0)
            .map(|(number, (_, _, count))| (number, count))
            .collect();
        let exact = own.iter().find(|(_, count)| *count == COUNT);
        let largest = || {
            let enough = own.iter().rev().filter(|(_, count)| *count > COUNT);
            enough.max_by_key(|(_, count)| *count)
        };
        match exact.or_else(largest) {
            Some((number, _)) => Ok(*number),
            None if own.is_empty() => bail!(
                "no mapping entry found in {} for {}",
                self.file.display(),
                self.user
            ),
            None => bail!(
                "mapping entries for user {} found in {} but all with a range count lower than \
                 {COUNT}",
                self.user,
                self.file.display()
            ),
        }
    }

    /// The text with the change made; `None` where it is so already.
    fn changed(&self, change: Change) -> anyhow::Result<Option<String>> {
        let number = match (self.find(), change) {
            (Ok(_), Change::Add) => return Ok(None),
            (Err(_), Change::Add) => return self.added().map(Some),
            (found, _) => found?,
        };
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        let line = &mut lines[number];
        match change {
            Change::Enable if line.starts_with('!') => {
                line.remove(0);
            }
            Change::Disable if !line.starts_with('!') => line.insert(0, '!'),
            Change::Remove => {
                lines.remove(number);
            }
            _ => return Ok(None),
        }
        Ok(Some(lines.iter().map(|line| format!("{line}\n")).collect()))
    }

    /// The text with a new range for the user, which overlaps no other.
    fn added(&self) -> anyhow::Result<String> {
        let taken: Vec<(u64, u64)> = self
            .text
            .lines()
            .filter_map(parse)
            .map(|(_, start, count)| (start, start.saturating_add(count)))
            .collect();
        let mut start = HIGHEST;
        while taken
            .iter()
            .any(|(first, end)| *first < start + COUNT && start < *end)
        {
            if start <= LOWEST {
                bail!("no range available");
            }
            start -= COUNT;
        }
        let mut text = self.text.to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{}:{start}:{COUNT}\n", self.uid));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, change: Change) -> Result<Option<String>, String> {
        let entries = Entries {
            file: Path::new("/etc/subuid"),
            user: "ann",
            uid: 1000,
            text,
        };
        entries.changed(change).map_err(|error| error.to_string())
    }

    #[test]
    fn adding() {
        let add = |text: &str| changed(text, Change::Add).unwrap();
        assert_eq!(add("").unwrap(), "1000:4294836224:65536\n");
        assert_eq!(add("ann:5:65536\n"), None);
        assert_eq!(
            add("# x\nbob:4294836224:65536\nrubbish").unwrap(),
            "# x\nbob:4294836224:65536\nrubbish\n1000:4294770688:65536\n"
        );
        // Half of the range is another's.
        assert_eq!(
            add("bob:4294868992:100\n").unwrap(),
            "bob:4294868992:100\n1000:4294770688:65536\n"
        );
        assert_eq!(
            changed("bob:0:4294967295\n", Change::Add).unwrap_err(),
            "no range available"
        );
    }

    #[test]
    fn enabling_disabling_removing() {
        let text = "bob:1:2\n1000:100000:65536\n";
        assert_eq!(
            changed(text, Change::Disable).unwrap().unwrap(),
            "bob:1:2\n!1000:100000:65536\n"
        );
        assert_eq!(changed(text, Change::Enable).unwrap(), None);
        assert_eq!(
            changed("!ann:100000:65536\n", Change::Enable)
                .unwrap()
                .unwrap(),
            "ann:100000:65536\n"
        );
        assert_eq!(changed(text, Change::Remove).unwrap().unwrap(), "bob:1:2\n");
    }

    #[test]
    fn the_right_one_of_several() {
        let text = "ann:1:10\nann:100:100000\nann:200000:200000\n";
        assert_eq!(
            changed(text, Change::Remove).unwrap().unwrap(),
            "ann:1:10\nann:100:100000\n"
        );
        assert_eq!(
            changed("ann:1:10\n", Change::Remove).unwrap_err(),
            "mapping entries for user ann found in /etc/subuid but all with a range count lower \
             than 65536"
        );
        assert_eq!(
            changed("bob:1:70000\n", Change::Enable).unwrap_err(),
            "no mapping entry found in /etc/subuid for ann"
        );
    }
}
