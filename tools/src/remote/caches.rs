//! The caches of this node that images are looked for in.

use std::path::PathBuf;
use std::sync::Once;

use skiff_cache::disk::{About, Blob, BlobKey, Cache, Limits, State};

use crate::output;

/// Programs that read more than this as they start are not waited for by anybody.
const MOST_AT_ONCE: u64 = 128 << 20;

static WARNED: Once = Once::new();

/// The user's own cache of this node; `None`, with a warning, when no directory can be used.
pub fn own_cache() -> Option<Cache> {
    let opened = Cache::default_dir().and_then(|dir| Cache::open(&dir, Limits::from_env()));
    match opened {
        Ok(cache) if cache.is_writable() => Some(cache),
        // What is in there could be anything: checksums do not stop whoever computes them.
        Ok(cache) => {
            WARNED.call_once(|| {
                output::warning(format_args!(
                    "cache directory {} belongs to another user and is not used; set \
                     SKIFF_CACHE_DIR to a directory of yours",
                    cache.dir().display()
                ));
            });
            None
        }
        Err(error) => {
            WARNED.call_once(|| {
                output::warning(format_args!(
                    "nothing is kept of images that are elsewhere: {error}; set SKIFF_CACHE_DIR to a \
                     directory of yours"
                ));
            });
            None
        }
    }
}

/// The most that is fetched unasked of an image: no more than a quarter of what may be kept.
pub fn most_at_once() -> u64 {
    own_cache().map_or(0, |cache| (cache.quota() / 4).min(MOST_AT_ONCE))
}

/// The cache that an administrator filled for all users of this node, if there is one.
pub fn shared_cache() -> Option<Cache> {
    let dir = Cache::shared_dir()?;
    match Cache::open(&dir, Limits::from_env()) {
        Ok(cache) => Some(cache),
        Err(error) => {
            output::verbose(format_args!("shared cache passed by: {error}"));
            None
        }
    }
}

/// Whether a blob was not found to be something else than its digest says.
fn is_believed(blob: &Blob) -> bool {
    blob.state() != State::Mismatch
}

/// Where the bytes under `key` are looked for: the shared cache's blob and the own one.
pub(super) fn blobs(key: &BlobKey, about: &About, uncached: bool) -> (Option<Blob>, Option<Blob>) {
    let shared = shared_cache()
        .and_then(|cache| cache.find(key))
        .filter(is_believed);
    let own = if uncached {
        temporary_blob(key, about)
    } else {
        own_cache().and_then(|cache| {
            let blob = cache.blob(key, about).ok()?;
            if is_believed(&blob) {
                return Some(blob);
            }
            blob.discard();
            cache.blob(key, about).ok().filter(is_believed)
        })
    };
    (shared, own)
}

/// A blob whose files have no names any more: gone with the process.
fn temporary_blob(key: &BlobKey, about: &About) -> Option<Blob> {
    let parent: PathBuf = Cache::default_dir().ok()?;
    let parent = parent.parent()?;
    let dir = tempfile::Builder::new()
        .prefix("skiff-uncached-")
        .tempdir_in(parent)
        .ok()?;
    let cache = Cache::open(dir.path(), Limits::from_env()).ok()?;
    cache.blob(key, about).ok()
}
