//! From what users call an image to the entries of the cache that are meant.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::bail;
use skiff_cache::disk::{BlobInfo, Cache};
use skiff_fs::remote::{Reference, RemoteOptions, Resolved, hide_secrets, pins};

use crate::text::go_path;

/// Digits of a digest that may stand for it, if they do for one only.
const MIN_PREFIX: usize = 4;

/// What `reference` stood for when it was last looked up, however long ago. Asks nobody.
pub(crate) fn last_known(cache: &Cache, reference: &Reference) -> Option<Resolved> {
    let options = RemoteOptions {
        offline: true,
        ..RemoteOptions::default()
    };
    pins::recent(cache, reference, &options)
}

/// The entries that `name` stands for, at least one: a URL or path, the key of an entry, its digest
/// or the start of it.
///
/// # Errors
/// When there is none, or the start fits several.
pub(super) fn find<'a>(
    cache: &Cache,
    entries: &'a [BlobInfo],
    name: &OsStr,
) -> anyhow::Result<Vec<&'a BlobInfo>> {
    let text = name.to_string_lossy();
    let with = |test: &dyn Fn(&BlobInfo) -> bool| -> Vec<&'a BlobInfo> {
        entries.iter().filter(|entry| test(entry)).collect()
    };
    let mut found = match Reference::parse(&text) {
        Ok(Some(reference)) => {
            let key = last_known(cache, &reference).map(|resolved| resolved.key);
            let current = with(&|entry| key.as_deref() == Some(entry.key.as_str()));
            if current.is_empty() {
                with(&|entry| reference.is_of(&entry.about.name, entry.key.as_str()))
            } else {
                current
            }
        }
        // What is no name may be a key.
        Ok(None) | Err(_) => Vec::new(),
    };
    if found.is_empty() {
        found = with(&|entry| {
            entry.about.name == *text
                || entry.key.as_str() == text
                || entry.about.digest.as_deref() == Some(&*text)
        });
    }
    if found.is_empty() {
        let path = Path::new(name);
        let path = path.canonicalize().or_else(|_| go_path(path))?;
        found = with(&|entry| Path::new(&entry.about.name) == path);
    }
    if found.is_empty() && is_prefix(&text) {
        let text = text.to_ascii_lowercase();
        found = with(&|entry| {
            let digest = entry.about.digest.as_deref().unwrap_or_default();
            let digest = digest.strip_prefix("sha256:").unwrap_or_default();
            entry.key.stem().starts_with(&text) || digest.starts_with(&text)
        });
        if found.len() > 1 {
            bail!(
                "{text} is the start of {} entries; write more of it",
                found.len()
            );
        }
    }
    if found.is_empty() {
        let text = hide_secrets(&text);
        bail!("{text}: nothing of it is in the cache; see `skiff cache list -v`");
    }
    Ok(found)
}

fn is_prefix(text: &str) -> bool {
    text.len() >= MIN_PREFIX && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_cache::disk::{About, BlobKey, BlobKind, Limits};
    use skiff_fs::remote::Digest;

    #[test]
    fn by_name_key_and_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("c"), Limits::default()).unwrap();
        let with_query = |query: &str| {
            let digest = Digest::of(query.as_bytes());
            format!("http https://host/dl?... {digest} 10000 v1")
        };
        let (second, third) = (with_query("id=2"), with_query("id=3"));
        for (key, name, kind) in [
            ("one", "https://host/a.sif", BlobKind::Net),
            ("two", "https://host/a.sif", BlobKind::Net),
            (&second, "https://host/dl?...", BlobKind::Net),
            (&third, "https://host/dl?...", BlobKind::Net),
            ("three", "/nonexistent/x.sif", BlobKind::File),
        ] {
            let about = About {
                name: name.to_owned(),
                size: 10_000,
                digest: Some(format!("sha256:{}", "ab".repeat(32))),
                kind,
            };
            cache.blob(&BlobKey::new(key), &about).unwrap();
        }
        let entries = cache.list().unwrap();
        let keys = |name: &str| -> Result<Vec<String>, String> {
            let found = find(&cache, &entries, OsStr::new(name)).map_err(|e| e.to_string())?;
            let mut keys: Vec<String> = found
                .iter()
                .map(|entry| entry.key.as_str().to_owned())
                .collect();
            keys.sort();
            Ok(keys)
        };
        assert_eq!(keys("https://host/a.sif").unwrap(), ["one", "two"]);
        assert_eq!(keys("two").unwrap(), ["two"]);
        assert_eq!(keys("https://host/dl?id=2").unwrap(), [&*second]);
        assert!(keys("https://host/dl?id=1").is_err());
        // As the listing has it.
        assert_eq!(keys("https://host/dl?...").unwrap().len(), 2);
        assert_eq!(keys("/nonexistent/./x.sif").unwrap(), ["three"]);
        let stem = BlobKey::new("three").stem();
        assert_eq!(keys(&stem[..12]).unwrap(), ["three"]);
        assert_eq!(keys(&stem.to_uppercase()).unwrap(), ["three"]);
        assert!(keys("abab").unwrap_err().contains("start of 5 entries"));
        assert!(
            keys("https://host/b.sif")
                .unwrap_err()
                .contains("nothing of it")
        );
        assert!(keys("").is_err() && keys("ab").is_err());
    }
}
