//! `cache list`.

use serde_json::json;
use skiff_cache::disk::{BlobInfo, BlobKind};

use super::kinds::Kinds;
use super::{converted, existing_with_entries, show};
use crate::cli::Context;
use crate::cli::cache::ListArgs;
use crate::exit::ExitStatus;
use crate::output;

/// Columns of a name: the start of the digest that entries' files are named by.
const NAME_WIDTH: usize = 22;

/// `cache list`
///
/// # Errors
/// A cache that cannot be read.
pub fn list(args: &ListArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let found = existing_with_entries()?;
    let kinds = Kinds::new(&args.types);
    let (cache, mut entries) = match found {
        Some((cache, mut entries)) => {
            entries.extend(converted::entries(&cache));
            (Some(cache), entries)
        }
        None => (None, Vec::new()),
    };
    entries.retain(|entry| kinds.has(entry.about.kind));
    if args.json {
        let object = json!({
            "directory": cache.map(|cache| cache.dir().display().to_string()),
            "entries": entries.iter().map(entry_json).collect::<Vec<_>>(),
        });
        output::stdout(format!("{object:#}\n"))?;
        return Ok(ExitStatus::Success);
    }
    let mut text = String::new();
    if args.verbose {
        text.push_str(&table(&entries));
        text.push('\n');
    }
    text.push_str(&summary(&entries, &kinds));
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn entry_json(entry: &BlobInfo) -> serde_json::Value {
    json!({
        "id": entry.key.stem(),
        "source": entry.about.name,
        "type": show::kind(entry.about.kind),
        "digest": entry.about.digest,
        "size": entry.about.size,
        "cached": entry.cached_bytes,
        "created_ms": entry.created,
        "last_use_ms": entry.last_use,
        "pinned": entry.pinned,
        "state": show::state(entry.state),
    })
}

/// The four columns of Apptainer, then ours.
fn table(entries: &[BlobInfo]) -> String {
    let mut text = format!(
        "{:<NAME_WIDTH$}   {:<20}   {:<16} {}",
        "NAME", "DATE CREATED", "SIZE", "TYPE"
    );
    if !entries.is_empty() {
        text.push_str("   CACHED   PINNED   STATE        SOURCE");
    }
    text.push('\n');
    for entry in entries {
        let stem = entry.key.stem();
        let name: String = stem.chars().take(NAME_WIDTH).collect();
        let share = format!("{}%", show::percent(entry.cached_bytes, entry.about.size));
        text.push_str(&format!(
            "{name:<NAME_WIDTH$}   {:<20}   {:<16} {:<4}   {share:<6}   {:<6}   {:<10}   {}\n",
            show::time(entry.created),
            show::size(entry.cached_bytes),
            show::kind(entry.about.kind),
            if entry.pinned { "yes" } else { "no" },
            show::state(entry.state),
            plain(&entry.about.name),
        ));
    }
    text
}

/// A name without what would move the cursor: it came from a command line or a server.
pub(crate) fn plain(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

fn summary(entries: &[BlobInfo], kinds: &Kinds) -> String {
    let sum = |blobs: bool| {
        let mut count = 0_u64;
        let mut bytes = 0_u64;
        for entry in entries {
            if (entry.about.kind == BlobKind::Oci) == blobs {
                count += 1;
                bytes = bytes.saturating_add(entry.cached_bytes);
            }
        }
        (count, bytes)
    };
    let (containers, container_bytes) = sum(false);
    let (blobs, blob_bytes) = sum(true);
    let mut parts = Vec::new();
    if kinds.has_containers() {
        let size = show::size(container_bytes);
        parts.push(format!(" {containers} container file(s) using {size}"));
    }
    if kinds.has_blobs() {
        let size = show::size(blob_bytes);
        parts.push(format!(" {blobs} oci blob file(s) using {size}"));
    }
    format!(
        "There are{} of space\nTotal space used: {}\n",
        parts.join(" and"),
        show::size(container_bytes.saturating_add(blob_bytes))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::value::Strings;
    use skiff_cache::disk::{About, BlobKey, State};

    fn entry(kind: BlobKind, cached_bytes: u64) -> BlobInfo {
        BlobInfo {
            key: BlobKey::new("key"),
            about: About {
                name: "https://host/a\x1b.sif".to_owned(),
                size: 1 << 20,
                digest: None,
                kind,
            },
            cached_bytes,
            created: 1_795_501_536_000,
            last_use: 0,
            pinned: true,
            state: State::Verified,
        }
    }

    fn kinds(words: &[&str]) -> Kinds {
        Kinds::new(&[Strings(words.iter().map(Into::into).collect())])
    }

    #[test]
    fn summaries_are_those_of_apptainer() {
        let entries = [entry(BlobKind::Net, 3_000_000), entry(BlobKind::Oci, 1024)];
        assert_eq!(
            summary(&entries, &kinds(&[])),
            "There are 1 container file(s) using 2.86 MiB and 1 oci blob file(s) using 1.00 KiB of \
             space\nTotal space used: 2.86 MiB\n"
        );
        assert_eq!(
            summary(&[], &kinds(&["blob"])),
            "There are 0 oci blob file(s) using 0.00 KiB of space\nTotal space used: 0.00 KiB\n"
        );
        assert_eq!(
            summary(&[], &kinds(&["foo"])),
            "There are of space\nTotal space used: 0.00 KiB\n"
        );
    }

    #[test]
    fn tables() {
        assert_eq!(
            table(&[]),
            "NAME                     DATE CREATED           SIZE             TYPE\n"
        );
        let text = table(&[entry(BlobKind::Net, 1 << 19)]);
        let line = text.lines().nth(1).unwrap();
        let stem = BlobKey::new("key").stem();
        assert!(line.starts_with(&stem[..22]), "{line}");
        assert!(
            line.ends_with(
                "   512.00 KiB       net    50%      yes      verified     https://host/a?.sif"
            ),
            "{line}"
        );
        assert_eq!(
            text.lines().next().unwrap().find("SOURCE"),
            line.find("https")
        );
    }
}
