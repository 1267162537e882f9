//! SIFs made of OCI images, as entries of the cache beside those of the chunk cache.

use std::time::{SystemTime, UNIX_EPOCH};

use skiff_cache::disk::{About, BlobInfo, BlobKey, BlobKind, Cache, State};
use skiff_fs::format::sif::DataType;
use skiff_fs::image::Image;

use crate::convert::converted::{self, Entry};

/// The longest definition that a name is looked for in.
const MAX_DEFINITION: u64 = 64 << 10;

/// All of them, the last used first.
pub(super) fn entries(cache: &Cache) -> Vec<BlobInfo> {
    converted::entries(cache).iter().map(info).collect()
}

/// Bytes that they take.
pub(super) fn bytes(cache: &Cache) -> u64 {
    let entries = converted::entries(cache);
    entries.iter().map(|entry| entry.bytes).sum()
}

/// Removes one.
///
/// # Errors
/// What the system reports.
pub(super) fn remove(cache: &Cache, info: &BlobInfo) -> std::io::Result<()> {
    let entries = converted::entries(cache);
    match entries.iter().find(|it| it.key == info.key.as_str()) {
        Some(entry) => std::fs::remove_file(&entry.path),
        None => Ok(()),
    }
}

/// Frees until both caches together take `down_to`, or without it until the quota is kept. Returns
/// the bytes that were freed.
pub(super) fn free(cache: &Cache, chunks: u64, down_to: Option<u64>) -> u64 {
    let Some(limit) = down_to else {
        return converted::sweep(cache, None);
    };
    let entries = converted::entries(cache);
    let taken: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let over = taken.saturating_add(chunks).saturating_sub(limit);
    converted::free(&entries, over, None)
}

fn info(entry: &Entry) -> BlobInfo {
    BlobInfo {
        key: BlobKey::new(entry.key.clone()),
        about: About {
            name: name(entry).unwrap_or_else(|| "layers of an image, to build upon".to_owned()),
            size: entry.bytes,
            digest: None,
            kind: BlobKind::Converted,
        },
        cached_bytes: entry.bytes,
        created: milliseconds(entry.created),
        last_use: milliseconds(entry.last_use),
        pinned: false,
        state: State::Unverified,
    }
}

/// What it was made of, as its definition says.
fn name(entry: &Entry) -> Option<String> {
    let image = Image::open(&entry.path).ok()?;
    let mut objects = image.sif()?.descriptors.iter();
    let definition = objects.find(|object| object.data_type == DataType::Definition)?;
    let length = usize::try_from(definition.size.min(MAX_DEFINITION)).ok()?;
    let mut text = vec![0; length];
    let data = image.data_of(definition).ok()?;
    skiff_fs::source::Source::read_exact_at(&data, &mut text, 0).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let (bootstrap, from) = (value("bootstrap: ")?, value("from: ")?);
    Some(match bootstrap {
        "docker" => format!("docker://{from}"),
        _ => format!("{bootstrap}:{from}"),
    })
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
