//! `cache verify`, `pin` and `unpin`.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::bail;
use skiff_cache::disk::{Blob, BlobInfo, Cache, CheckReport};
use skiff_fs::remote::hide_secrets;

use super::list::plain;
use super::{existing_with_entries, names, show};
use crate::cli::Context;
use crate::cli::cache::ImagesArgs;
use crate::exit::ExitStatus;
use crate::output;

/// Exit code of `verify` when something did not hold.
const BAD: u8 = 1;

/// `cache verify [IMAGE…]`
///
/// # Errors
/// An image that the cache has nothing of, or a cache that cannot be read.
pub fn verify(args: &ImagesArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let Some((cache, entries)) = existing_with_entries()? else {
        if let Some(name) = args.words.first() {
            bail!(
                "{}: there is no cache yet",
                hide_secrets(&name.to_string_lossy())
            );
        }
        return Ok(ExitStatus::Success);
    };
    let chosen = if args.words.is_empty() {
        entries.iter().collect()
    } else {
        choose(&cache, &entries, &args.words)?
    };
    let mut all_good = true;
    for entry in chosen {
        // One that has just been removed has nothing wrong with it.
        let Some(blob) = cache.find(&entry.key) else {
            continue;
        };
        let verdict = examine(&blob);
        all_good &= verdict.is_good();
        let name = plain(&entry.about.name);
        output::stdout(format!("{name}: {}\n", verdict.text(entry.about.size)))?;
    }
    Ok(if all_good {
        ExitStatus::Success
    } else {
        ExitStatus::Code(BAD)
    })
}

/// What is known of an entry after looking at all of it.
struct Verdict {
    report: CheckReport,
    whole: Whole,
}

/// Comparison of the whole with its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whole {
    Incomplete,
    NoDigest,
    Fits,
    Differs,
}

fn examine(blob: &Blob) -> Verdict {
    let report = blob.check();
    let whole = match &blob.about().digest {
        None => Whole::NoDigest,
        Some(expected) => match blob.compare(&mut |found| is_digest(expected, found)) {
            Some(true) => Whole::Fits,
            Some(false) => Whole::Differs,
            None => Whole::Incomplete,
        },
    };
    Verdict { report, whole }
}

fn is_digest(expected: &str, found: &[u8]) -> bool {
    let hex = found.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    });
    expected
        .strip_prefix("sha256:")
        .is_some_and(|digits| digits.eq_ignore_ascii_case(&hex))
}

impl Verdict {
    fn is_good(&self) -> bool {
        self.report.dropped_bytes == 0 && self.whole != Whole::Differs
    }

    fn text(&self, size: u64) -> String {
        let good = self.report.good_bytes;
        let mut text = format!("{} ({}%) good", show::size(good), show::percent(good, size));
        if self.report.dropped_bytes > 0 {
            let dropped = show::size(self.report.dropped_bytes);
            text.push_str(&format!(
                ", {dropped} damaged and dropped; they are fetched again when they are read"
            ));
        }
        text.push_str(match self.whole {
            Whole::Fits => ", digest verified",
            Whole::Differs => {
                ", but the whole does NOT have its digest: remove it with `skiff cache clean`"
            }
            Whole::Incomplete | Whole::NoDigest => "",
        });
        text
    }
}

/// `cache pin IMAGE…`
///
/// # Errors
/// An image that the cache has nothing of, or a cache that cannot be written.
pub fn pin(args: &ImagesArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    for_each(&args.words, |cache, entry| {
        cache.pin(&entry.key)?;
        let name = plain(&entry.about.name);
        output::info(format_args!("Pinned until unpinned: {name}"));
        Ok(())
    })
}

/// `cache unpin IMAGE…`
///
/// # Errors
/// An image that the cache has nothing of, or a cache that cannot be written.
pub fn unpin(args: &ImagesArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    for_each(&args.words, |cache, entry| {
        let name = plain(&entry.about.name);
        if cache.unpin(&entry.key)? {
            output::info(format_args!("Unpinned: {name}"));
        } else {
            output::info(format_args!("Was not pinned: {name}"));
        }
        Ok(())
    })
}

fn for_each(
    words: &[OsString],
    act: impl Fn(&Cache, &BlobInfo) -> anyhow::Result<()>,
) -> anyhow::Result<ExitStatus> {
    let Some((cache, entries)) = existing_with_entries()? else {
        bail!("there is no cache yet; `skiff warm IMAGE` fills it");
    };
    for entry in choose(&cache, &entries, words)? {
        act(&cache, entry)?;
    }
    Ok(ExitStatus::Success)
}

/// All entries that `words` stand for; every word is looked up before anything is done.
fn choose<'a>(
    cache: &Cache,
    entries: &'a [BlobInfo],
    words: &[OsString],
) -> anyhow::Result<Vec<&'a BlobInfo>> {
    let mut chosen: Vec<&BlobInfo> = Vec::new();
    for word in words {
        for entry in names::find(cache, entries, word)? {
            if !chosen.iter().any(|known| known.key == entry.key) {
                chosen.push(entry);
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_cache::disk::{About, BlobKey, BlobKind, Fetch, Limits, State};
    use std::io;
    use std::ops::Range;

    struct Zeros;

    impl Fetch for Zeros {
        fn fetch(
            &self,
            range: Range<u64>,
            sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        ) -> io::Result<()> {
            sink(&vec![0; usize::try_from(range.end - range.start).unwrap()])
        }
    }

    /// sha256 of 8192 zero bytes.
    const ZEROS: &str = "sha256:9f1dcbc35c350d6027f98be0f5c8b43b42ca52b7604459c0c42be3aa88913d47";

    #[test]
    fn verdicts() {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits {
            quota: Some(1 << 30),
            keep_free: Some(0),
        };
        let cache = Cache::open(&directory.path().join("c"), limits).unwrap();
        let blob = |key: &str, digest: Option<&str>| {
            let about = About {
                name: key.to_owned(),
                size: 8192,
                digest: digest.map(str::to_owned),
                kind: BlobKind::Oras,
            };
            cache.blob(&BlobKey::new(key), &about).unwrap()
        };
        let good = blob("good", Some(ZEROS));
        assert_eq!(examine(&good).whole, Whole::Incomplete);
        good.fill(0..4096, &Zeros).unwrap();
        assert_eq!(examine(&good).text(8192), "4.00 KiB (50%) good");
        good.fill(0..8192, &Zeros).unwrap();
        let verdict = examine(&good);
        assert!(verdict.is_good());
        assert_eq!(verdict.text(8192), "8.00 KiB (100%) good, digest verified");
        assert_eq!(good.state(), State::Verified);

        let wrong = blob("wrong", Some("sha256:00"));
        wrong.fill(0..8192, &Zeros).unwrap();
        assert!(!examine(&wrong).is_good());
        assert_eq!(wrong.state(), State::Mismatch);

        let damaged = blob("damaged", None);
        damaged.fill(0..8192, &Zeros).unwrap();
        let path = cache.dir().join("blobs");
        let path = path.join(format!("{}.data", BlobKey::new("damaged").stem()));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let verdict = examine(&damaged);
        assert!(!verdict.is_good());
        assert!(verdict.text(8192).contains("4.00 KiB damaged"));
        assert!(examine(&damaged).is_good());
    }
}
