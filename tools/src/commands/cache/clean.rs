//! `cache clean`.

use std::io::{self, BufRead};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use skiff_cache::disk::{BlobInfo, BlobKind};

use super::kinds::Kinds;
use super::{converted, existing_with_entries, show};
use crate::cli::Context;
use crate::cli::cache::CleanArgs;
use crate::exit::ExitStatus;
use crate::output;

const QUESTION: &str = "\
This will delete everything in your cache (containers from all sources and OCI blobs).
Hint: You can see exactly what would be deleted by canceling and using the --dry-run option.
Do you want to continue? [y/N] ";

const DAY_MS: u64 = 24 * 3600 * 1000;

/// `cache clean`
///
/// # Errors
/// Nobody to ask, or a cache that cannot be written.
pub fn clean(args: &CleanArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    if args.dry_run {
        output::stdout("User requested a dry run. Not actually deleting any data!\n")?;
    } else if !args.force {
        output::stdout(QUESTION)?;
        if !is_yes(&mut io::stdin().lock())? {
            output::info("Handle cleanup canceled");
            return Ok(ExitStatus::Success);
        }
    }
    let Some((cache, mut entries)) = existing_with_entries()? else {
        output::info("No cached files to remove");
        return Ok(ExitStatus::Success);
    };
    entries.extend(converted::entries(&cache));
    let kinds = Kinds::new(&args.types);
    let now = now_ms();
    entries.retain(|entry| kinds.has(entry.about.kind) && is_older(entry, args.days, now));
    if entries.is_empty() {
        let dir = cache.dir().display();
        output::info(format_args!("No cached files to remove at {dir}"));
    }
    for entry in &entries {
        let kind = show::kind(entry.about.kind);
        let name = super::list::plain(&entry.about.name);
        if entry.pinned {
            output::info(format_args!("Keeping pinned {kind} cache entry: {name}"));
            continue;
        }
        output::info(format_args!("Removing {kind} cache entry: {name}"));
        if !args.dry_run {
            if entry.about.kind == BlobKind::Converted {
                converted::remove(&cache, entry)?;
            } else {
                cache.remove(&entry.key)?;
            }
        }
    }
    Ok(ExitStatus::Success)
}

/// Whether the next line of `input` says yes; an input that has ended has nobody behind it.
fn is_yes(input: &mut dyn BufRead) -> anyhow::Result<bool> {
    let mut answer = String::new();
    let ended = match input.read_line(&mut answer) {
        Ok(0) => Some("EOF".to_owned()),
        Ok(_) => None,
        Err(error) => Some(crate::text::os_error(&error)),
    };
    if let Some(reason) = ended {
        bail!("Handle clean failed: could not prompt user: could not read user's input: {reason}");
    }
    Ok(matches!(answer.trim(), "y" | "Y"))
}

fn is_older(entry: &BlobInfo, days: Option<i64>, now: u64) -> bool {
    let days = days.and_then(|days| u64::try_from(days).ok()).unwrap_or(0);
    days == 0 || now.saturating_sub(entry.created) > days.saturating_mul(DAY_MS)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_cache::disk::{About, BlobKey, State};

    #[test]
    fn answers() {
        let answer = |text: &str| is_yes(&mut text.as_bytes());
        for yes in ["y\n", "Y\n", "y"] {
            assert!(answer(yes).unwrap(), "{yes}");
        }
        for no in ["n\n", "\n", "yes\n", "maybe\n"] {
            assert!(!answer(no).unwrap(), "{no}");
        }
        assert_eq!(
            answer("").unwrap_err().to_string(),
            "Handle clean failed: could not prompt user: could not read user's input: EOF"
        );
    }

    #[test]
    fn ages() {
        let entry = BlobInfo {
            key: BlobKey::new("key"),
            about: About {
                name: "name".to_owned(),
                size: 1,
                digest: None,
                kind: BlobKind::Net,
            },
            cached_bytes: 1,
            created: 1000,
            last_use: 1000,
            pinned: false,
            state: State::Unverified,
        };
        let now = 1000 + 3 * DAY_MS;
        for (days, expected) in [
            (None, true),
            (Some(-1), true),
            (Some(0), true),
            (Some(2), true),
            (Some(3), false),
            (Some(i64::MAX), false),
        ] {
            assert_eq!(is_older(&entry, days, now), expected, "{days:?}");
        }
    }
}
