//! `cache …`: what the node's chunk cache has, and taking care of it.
//!
//! `list` and `clean` are Apptainer's, with its words; the others are of a cache that holds parts of
//! images: how much it may take (`du`, `gc`), whether it can be believed (`verify`), and what must
//! stay (`pin`, `unpin`). All of them look at the cache that `SKIFF_CACHE_DIR` or its defaults name;
//! where there is none yet, it is empty.

pub mod care;
pub mod clean;
pub mod list;
pub mod usage;
pub(super) mod verbs;

mod converted;
mod kinds;
pub(super) mod names;
pub(super) mod show;
mod sys;

use skiff_cache::disk::{BlobInfo, Cache, CacheError, Limits};

/// The cache if there is one. It is not made by looking at it.
///
/// # Errors
/// When it is there and cannot be used.
pub(super) fn existing() -> anyhow::Result<Option<Cache>> {
    let dir = match Cache::default_dir() {
        Ok(dir) => dir,
        Err(CacheError::NoPlace { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // A link that leads nowhere is there, and open() says what is wrong with it.
    if dir.symlink_metadata().is_err() {
        return Ok(None);
    }
    Ok(Some(Cache::open(&dir, Limits::from_env())?))
}

/// As [`existing`], with what it has; the last used first.
///
/// # Errors
/// As [`existing`].
fn existing_with_entries() -> anyhow::Result<Option<(Cache, Vec<BlobInfo>)>> {
    match existing()? {
        Some(cache) => {
            let entries = cache.list()?;
            Ok(Some((cache, entries)))
        }
        None => Ok(None),
    }
}
