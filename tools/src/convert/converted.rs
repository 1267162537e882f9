//! SIFs made of images that somebody started programs in, kept in the node's cache.
//!
//! ```text
//! name ─ note: what it stood for lately ─┐
//!      └ registry: what it stands for ───┴► digest, machine ─► key ─► converted/<key>.sif
//! ```
//! One process converts, under a lock; others wait for it. What has not been used for the longest
//! time goes when the quota is reached; whoever has it open goes on.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use skiff_cache::disk::{Cache, NoteLock};
use skiff_fs::format::oci::Platform;
use skiff_fs::pack::Replace;
use skiff_fs::remote::{Client, Digest};

use super::assemble::{self, Manner};
use super::oci;
use super::options::Options;
use super::source::{OciSource, Spec};
use super::watch::Watch;
use crate::output;
use crate::remote::own_cache;

/// Changes when the same image is converted to something else than before.
const VERSION: u32 = 3;
/// Subdirectory of the cache.
const FOLDER: &str = "converted";
/// Kind of the notes that say what a name stood for.
const NAMES: &str = "oci-name";
/// Kind of the locks.
const LOCKS: &str = "convert";
/// Nobody takes longer to convert an image.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// What is made of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One of ours, ready to be run.
    Whole,
    /// Its layers alone.
    Raw,
}

/// A converted image in the cache.
#[derive(Debug)]
pub struct Converted {
    /// Where it is.
    pub path: PathBuf,
    /// The file; it stays readable if it is evicted.
    pub file: File,
}

#[derive(Serialize, Deserialize)]
struct Name {
    digest: Digest,
    /// Seconds of the epoch.
    at: u64,
}

/// What `source` stands for, as somebody said lately or the user says for ever: nobody is asked.
pub(super) fn known(cache: &Cache, source: &OciSource, options: &Options) -> Option<Digest> {
    let OciSource::Docker(reference) = source else {
        return None;
    };
    if let skiff_fs::remote::Version::Digest(digest) = reference.version() {
        return Some(digest.clone());
    }
    let note = cache.note(NAMES, &note_key(source, options))?;
    let name: Name = serde_json::from_slice(&note).ok()?;
    let age = now().saturating_sub(name.at);
    let is_recent = Duration::from_secs(age) < options.remote.tag_ttl;
    (options.remote.offline || is_recent).then_some(name.digest)
}

/// What `source` stands for now.
pub(super) fn identity(
    cache: Option<&Cache>,
    source: &OciSource,
    options: &Options,
    watch: &Watch,
) -> anyhow::Result<Digest> {
    if let Some(digest) = cache.and_then(|cache| known(cache, source, options)) {
        return Ok(digest);
    }
    let OciSource::Docker(reference) = source else {
        let store = source.open(&options.remote, &watch.observer())?;
        return Ok(store.digest(&options.platform)?);
    };
    let client = Client::new(options.remote.clone(), watch.observer())?;
    let digest = client.image_digest(reference)?;
    if let Some(cache) = cache {
        let name = Name {
            digest: digest.clone(),
            at: now(),
        };
        // Without the note it is asked for again.
        let _again = serde_json::to_vec(&name)
            .map(|note| cache.put_note(NAMES, &note_key(source, options), &note));
    }
    Ok(digest)
}

fn note_key(source: &OciSource, options: &Options) -> String {
    format!("{source:?} {}", options.platform)
}

/// The key of what is made of the image with this digest.
pub(super) fn key(digest: &Digest, platform: &Platform, kind: Kind) -> String {
    let whose = if rustix::process::geteuid().is_root() {
        "root"
    } else {
        "user"
    };
    let text = format!("{VERSION} {digest} {platform} {kind:?} {whose}");
    Digest::of(text.as_bytes()).hex().to_owned()
}

impl Converted {
    /// The one under `key`, if it is there; notes that it was used.
    pub(super) fn find(cache: &Cache, key: &str) -> Option<Self> {
        let path = folder(cache).join(format!("{key}.sif"));
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .ok()?;
        // For whoever makes room. The owner may always set times.
        let _in_vain = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        Some(Self { path, file })
    }

    /// The image of `source` that is recent enough and in the cache; asks nobody.
    pub fn recent(source: &OciSource, options: &Options) -> Option<Self> {
        if options.uncached {
            return None;
        }
        let cache = own_cache()?;
        let digest = known(&cache, source, options)?;
        Self::find(&cache, &key(&digest, &options.platform, Kind::Whole))
    }

    /// The image of `spec`, converted if it is not there yet. The process gets threads.
    ///
    /// # Errors
    /// Why there is none.
    pub fn provide(
        spec: &Spec,
        source: &OciSource,
        options: &Options,
        kind: Kind,
        cache: &Cache,
    ) -> anyhow::Result<PathBuf> {
        let watch = Watch::new();
        let digest = identity(Some(cache), source, options, &watch)?;
        let key = key(&digest, &options.platform, kind);
        let used = |found: Self| {
            if kind == Kind::Whole {
                output::info("Using cached SIF image");
            }
            found.path
        };
        if let Some(found) = Self::find(cache, &key) {
            return Ok(used(found));
        }
        let _lock = lock(cache, &key);
        if let Some(found) = Self::find(cache, &key) {
            return Ok(used(found));
        }
        let path = place(cache, &key)?;
        let manner = match kind {
            Kind::Whole => Manner::new(None)?,
            Kind::Raw => Manner::for_base()?,
        };
        let wanted = Wanted::held_to(source, &digest);
        convert(spec, &wanted, options, kind, &manner, &watch, |parts| {
            announce(kind, &watch);
            assemble::sif(parts, &path, 0o700, Replace::Yes, &manner, &watch)
        })?;
        sweep(cache, Some(&path));
        Ok(path)
    }
}

/// A file without a name for an image that nobody keeps.
///
/// # Errors
/// No room for one.
pub fn nameless() -> anyhow::Result<File> {
    let directory = skiff_fs::temporary::directory();
    tempfile::tempfile_in(&directory)
        .with_context(|| format!("a temporary file in {}", directory.display()))
}

/// Converts the image of `spec` into `file`, which is empty. The process gets threads.
///
/// # Errors
/// Why there is no such image.
pub fn temporary(
    spec: &Spec,
    source: &OciSource,
    options: &Options,
    file: File,
) -> anyhow::Result<()> {
    let watch = Watch::new();
    let manner = Manner::new(None)?;
    convert(
        spec,
        &Wanted::any(source),
        options,
        Kind::Whole,
        &manner,
        &watch,
        |parts| {
            announce(Kind::Whole, &watch);
            assemble::sif_in(parts, file, &manner, &watch)
        },
    )
}

/// Says that a SIF is being written, unless it is none of the user's.
pub(super) fn announce(kind: Kind, watch: &Watch) {
    if kind == Kind::Whole {
        watch.info("Creating SIF file...");
    }
}

/// An image, and the digest that it has to have.
pub(super) struct Wanted {
    source: OciSource,
    digest: Option<Digest>,
}

impl Wanted {
    /// Whatever the source is now.
    pub(super) fn any(source: &OciSource) -> Self {
        Self {
            source: source.clone(),
            digest: None,
        }
    }

    /// Nothing but the image with this digest: what is kept under it is what it says, however
    /// often names change, and whatever a registry says of them.
    pub(super) fn held_to(source: &OciSource, digest: &Digest) -> Self {
        match source {
            // The registry's answer is held to it.
            OciSource::Docker(reference) => Self {
                source: OciSource::Docker(reference.pinned_to(digest)),
                digest: None,
            },
            other => Self {
                source: other.clone(),
                digest: Some(digest.clone()),
            },
        }
    }

    fn find(&self, options: &Options, watch: &Watch) -> anyhow::Result<oci::Found> {
        let found = oci::find(&self.source, options, watch)?;
        match &self.digest {
            Some(digest) if found.image.digest != *digest => bail!(
                "the image was {digest} and is {} now: it changed while it was read; try again",
                found.image.digest
            ),
            _ => Ok(found),
        }
    }
}

/// Converts the image of `spec` to parts that `write` takes.
pub(super) fn convert(
    spec: &Spec,
    wanted: &Wanted,
    options: &Options,
    kind: Kind,
    manner: &Manner,
    watch: &Watch,
    write: impl FnOnce(assemble::Parts) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if kind == Kind::Whole {
        watch.info("Converting OCI blobs to SIF format");
        watch.info("Starting build...");
    }
    watch.info("Fetching OCI image...");
    let found = wanted.find(options, watch)?;
    let parts = match kind {
        Kind::Whole => oci::parts(&found, spec, manner, watch)?,
        Kind::Raw => oci::raw_parts(&found, watch)?,
    };
    write(parts)
}

/// Takes the lock of `key`, saying so where that takes its time. Without one two do the same.
pub(super) fn lock(cache: &Cache, key: &str) -> Option<NoteLock> {
    cache
        .lock_note(LOCKS, key, Duration::from_millis(200))
        .or_else(|| {
            output::info("Waiting for another process that makes the same image");
            cache.lock_note(LOCKS, key, PATIENCE)
        })
}

/// Where the image under `key` is to be; its directory is made.
pub(super) fn place(cache: &Cache, key: &str) -> anyhow::Result<PathBuf> {
    let folder = folder(cache);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            anyhow::bail!("making {}: {error}", folder.display())
        }
        _ => Ok(folder.join(format!("{key}.sif"))),
    }
}

fn folder(cache: &Cache) -> PathBuf {
    cache.dir().join(FOLDER)
}

/// A converted image, for listings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used.
    pub last_use: SystemTime,
    /// Where.
    pub path: PathBuf,
}

/// All converted images, the last used first.
pub fn entries(cache: &Cache) -> Vec<Entry> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(cache)).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(key) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".sif"))
        else {
            continue;
        };
        let Ok(data) = path.symlink_metadata() else {
            continue;
        };
        let created = data.modified().unwrap_or(UNIX_EPOCH);
        found.push(Entry {
            key: key.to_owned(),
            bytes: std::os::unix::fs::MetadataExt::blocks(&data).saturating_mul(512),
            created,
            last_use: data.accessed().unwrap_or(created).max(created),
            path: path.clone(),
        });
    }
    found.sort_by_key(|entry| std::cmp::Reverse(entry.last_use));
    found
}

/// Removes what has not been used for the longest time until the quota is kept; `except` stays.
/// Returns the bytes that were freed.
pub fn sweep(cache: &Cache, except: Option<&Path>) -> u64 {
    match cache.usage() {
        Ok(usage) => {
            let short = usage.keep_free.saturating_sub(usage.free);
            let images = entries(cache);
            let taken: u64 = images.iter().map(|entry| entry.bytes).sum();
            let over = taken
                .saturating_add(usage.used)
                .saturating_sub(usage.quota)
                .max(short);
            free(&images, over, except)
        }
        Err(_) => 0,
    }
}

/// Removes the oldest of `images` until `goal` bytes are free.
pub fn free(images: &[Entry], goal: u64, except: Option<&Path>) -> u64 {
    let mut freed = 0_u64;
    for entry in images.iter().rev() {
        if freed >= goal {
            break;
        }
        if Some(&*entry.path) != except && fs::remove_file(&entry.path).is_ok() {
            freed = freed.saturating_add(entry.bytes);
        }
    }
    freed
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
