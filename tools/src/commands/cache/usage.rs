//! `cache du` and `cache gc`: how much it takes.

use anyhow::Context as _;
use serde_json::{Value, json};
use skiff_cache::disk::{BlobInfo, Cache, Usage, parse_size};

use super::{converted, existing, show};
use crate::cli::Context;
use crate::cli::cache::{DuArgs, GcArgs};
use crate::exit::ExitStatus;
use crate::output;
use crate::remote;

/// A cache with its figures.
struct Place {
    title: &'static str,
    dir: String,
    usage: Usage,
    images: usize,
    pinned_bytes: u64,
    /// Of images made of others.
    converted_bytes: u64,
}

impl Place {
    fn new(title: &'static str, cache: &Cache) -> anyhow::Result<Self> {
        let entries = cache.list()?;
        let pinned = entries.iter().filter(|entry| entry.pinned);
        Ok(Self {
            title,
            dir: cache.dir().display().to_string(),
            usage: cache.usage()?,
            images: entries.len(),
            pinned_bytes: sum(pinned),
            converted_bytes: converted::bytes(cache),
        })
    }

    fn text(&self) -> String {
        let usage = &self.usage;
        let share = show::percent(usage.used, usage.quota);
        let mut text = format!("{}: {}\n", self.title, self.dir);
        for (name, value) in [
            ("images", self.images.to_string()),
            (
                "used",
                format!("{} ({share}% of the quota)", show::size(usage.used)),
            ),
            ("pinned", show::size(self.pinned_bytes)),
            ("converted", show::size(self.converted_bytes)),
            ("quota", show::size(usage.quota)),
            ("disk", show::size(usage.disk)),
            ("free", show::size(usage.free)),
            ("kept free", show::size(usage.keep_free)),
        ] {
            text.push_str(&format!("  {name:<11} {value}\n"));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "directory": self.dir,
            "images": self.images,
            "used": self.usage.used,
            "pinned": self.pinned_bytes,
            "converted": self.converted_bytes,
            "quota": self.usage.quota,
            "disk": self.usage.disk,
            "free": self.usage.free,
            "keep_free": self.usage.keep_free,
        })
    }
}

fn sum<'a>(entries: impl Iterator<Item = &'a BlobInfo>) -> u64 {
    entries.fold(0, |sum, entry| sum.saturating_add(entry.cached_bytes))
}

/// `cache du`
///
/// # Errors
/// A cache that cannot be read.
pub fn du(args: &DuArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let own = existing()?
        .map(|cache| Place::new("Cache", &cache))
        .transpose()?;
    let shared = remote::shared_cache()
        .map(|cache| Place::new("Shared cache", &cache))
        .transpose()?;
    if args.json {
        let object = json!({
            "cache": own.as_ref().map(Place::json),
            "shared_cache": shared.as_ref().map(Place::json),
        });
        output::stdout(format!("{object:#}\n"))?;
        return Ok(ExitStatus::Success);
    }
    let mut text = own.map_or_else(nothing_yet, |place| place.text());
    if let Some(place) = shared {
        text.push_str(&place.text());
    }
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn nothing_yet() -> String {
    match Cache::default_dir() {
        Ok(dir) => format!("Cache: {} (nothing there yet)\n", dir.display()),
        Err(error) => format!("Cache: {error}\n"),
    }
}

/// `cache gc`
///
/// # Errors
/// A wrong size, or a cache that cannot be written.
pub fn gc(args: &GcArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let down_to = args.down_to.as_deref().map(size_of).transpose()?;
    let Some(cache) = existing()? else {
        output::stdout("Nothing to free: there is no cache yet\n")?;
        return Ok(ExitStatus::Success);
    };
    let freed = cache.gc(down_to)?;
    let converted = converted::free(&cache, freed.used, down_to);
    let used = freed.used.saturating_add(converted::bytes(&cache));
    output::stdout(format!(
        "Freed {}; the cache takes {}\n",
        show::size(freed.bytes.saturating_add(converted)),
        show::size(used)
    ))?;
    if down_to.is_some_and(|limit| used > limit) {
        output::info("What is left is pinned, or describes what the cache has");
    }
    Ok(ExitStatus::Success)
}

fn size_of(text: &str) -> anyhow::Result<u64> {
    parse_size(text).with_context(|| format!("{text:?} is no size; write bytes, or 500M, 10G, 1T"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size_of("2K").unwrap(), 2048);
        assert!(size_of("much").unwrap_err().to_string().contains("no size"));
    }

    #[test]
    fn figures() {
        let place = Place {
            title: "Cache",
            dir: "/c".to_owned(),
            usage: Usage {
                used: 1 << 20,
                quota: 4 << 20,
                free: 1 << 30,
                keep_free: 1 << 20,
                disk: 2 << 30,
            },
            images: 3,
            pinned_bytes: 0,
            converted_bytes: 0,
        };
        assert!(place.text().starts_with(
            "Cache: /c\n  images      3\n  used        1.00 MiB (25% of the quota)\n"
        ));
        assert_eq!(place.json()["quota"], 4 << 20);
    }
}
