//! Images that are elsewhere, as commands and servers use them.
//!
//! ```text
//! name ─ reference ─► locate ─► RemoteImage ──sealed──► server ─ open ─► image over cached source
//!                       └ the answer of the last time, or a child process that asks the registry
//! ```
//! The launching process has one thread and stays so: whatever talks to a network is a child of it
//! ([`errand`]) or the server. Errors of finding and opening are therefore the launching command's
//! own, on its own terminal.

pub mod progress;
pub mod voice;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use skiff_cache::disk::{About, Blob, BlobKey, BlobKind, Cache, Limits, State};
use skiff_fs::format::squashfs::SquashfsOptions;
use skiff_fs::image::{Image, ImageError};
use skiff_fs::remote::{
    Client, Location, Observer, Reference, RemoteBlob, RemoteError, RemoteOptions, Resolved, pins,
};
use skiff_fs::source::origin::{FileOrigin, LATENCY_CLASSES_MS, Origin, VerifiedOrigin};
use skiff_fs::source::{CachedFigures, CachedSource, placement};
use skiff_launcher::process::errand;

use crate::launch::image::check_arch;
use crate::output;
use progress::Progress;

/// First line of a sealed description.
const SEAL: &[u8] = b"skiff remote image 1\n";

/// The most that a description may take; credentials included it has some hundred bytes.
const MAX_SEALED_BYTES: u64 = 1 << 20;

/// Note that no digests of chunks are published for a blob, and how many seconds it is believed.
const NO_DIGESTS: &str = "no-digests";
const NO_DIGESTS_FOR: u64 = 24 * 3600;

/// An image that was found elsewhere, with all that a server needs to serve it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteImage {
    /// What was looked up, in full.
    pub reference: String,
    /// What the name stands for: these bytes and no others.
    pub resolved: Resolved,
    /// How to get at it.
    pub options: RemoteOptions,
    /// Keep nothing of it behind: `--disable-cache`.
    pub uncached: bool,
}

/// An open image and where its bytes come from.
#[derive(Debug)]
pub struct Opened {
    /// The image.
    pub image: Image,
    /// Its bytes; `None` for a file on a disk of this machine.
    pub source: Option<Arc<CachedSource>>,
}

/// What `name` refers to, if it is elsewhere.
///
/// # Errors
/// What is wrong with the name, or why images from there are not supported.
pub fn reference(name: &OsStr) -> anyhow::Result<Option<Reference>> {
    match name.to_str() {
        Some(text) => Ok(Reference::parse(text)?),
        None => Ok(None),
    }
}

/// Finds out which bytes `reference` stands for now, and has the image's start and tables in the
/// cache: from the answer of the last time if that is recent, else in a child process.
///
/// The calling process must have one thread.
///
/// # Errors
/// One line that says why there is no such image, or why it cannot be run.
pub fn locate(
    reference: &Reference,
    options: &RemoteOptions,
    uncached: bool,
) -> anyhow::Result<RemoteImage> {
    let recent = own_cache().and_then(|cache| pins::recent(&cache, reference, options));
    let image = |resolved| RemoteImage {
        reference: reference.to_string(),
        resolved,
        options: options.clone(),
        uncached,
    };
    if let Some(resolved) = recent {
        return Ok(image(resolved));
    }
    let answer = errand::send_out(|| {
        locate_here(reference, options, uncached)
            .and_then(|remote| Ok(serde_json::to_vec(&remote.resolved)?))
            .map_err(|error| format!("{error:#}"))
    })?;
    let resolved = serde_json::from_slice(&answer).context("reading what the child found")?;
    Ok(image(resolved))
}

/// As [`locate`], in this process, which gets threads.
///
/// # Errors
/// As [`locate`].
pub fn locate_here(
    reference: &Reference,
    options: &RemoteOptions,
    uncached: bool,
) -> anyhow::Result<RemoteImage> {
    let progress = Progress::start(&reference.to_string());
    let observer: Arc<dyn Observer> = progress.clone();
    let cache = own_cache();
    let found = pins::resolve(cache.as_ref(), reference, options, &observer);
    let (resolved, first) = found?;
    let remote = RemoteImage {
        reference: reference.to_string(),
        resolved,
        options: options.clone(),
        uncached,
    };
    let mut source = None;
    let checked = remote
        .open_with_start(&observer, &first, &mut |opened| {
            progress.follow(Arc::clone(opened));
            source = Some(Arc::clone(opened));
        })
        .and_then(|opened| check(&opened.image));
    progress.finish();
    let Err(error) = checked else {
        return Ok(remote);
    };
    // What is no image is not kept; the next one under this name may be.
    let is_none = matches!(error.downcast_ref(), Some(ImageError::NotRecognized));
    if let (true, Some(blob)) = (is_none, source.as_ref().and_then(|source| source.blob())) {
        blob.discard();
    }
    remote.forget_if(is_none || was_replaced(&error));
    Err(error.context(remote.name().to_owned()))
}

/// Whether `error` says that the server has other bytes now than those that were looked up.
fn was_replaced(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref());
        let inner = inner.and_then(|inner| inner.downcast_ref::<RemoteError>());
        matches!(inner, Some(RemoteError::Changed { .. }))
            || matches!(cause.downcast_ref(), Some(RemoteError::Changed { .. }))
    })
}

/// Reads all that a mount needs, so that what is wrong with the image shows at once.
fn check(image: &Image) -> anyhow::Result<()> {
    image.check_mountable()?;
    check_arch(image).map_err(anyhow::Error::msg)?;
    image.tree(&SquashfsOptions::default())?;
    Ok(())
}

impl RemoteImage {
    /// The next who asks for this name has it looked up again, if `wanted`.
    pub fn forget_if(&self, wanted: bool) {
        let reference = Reference::parse(&self.reference);
        if let (true, Ok(Some(reference)), Some(cache)) = (wanted, reference, own_cache()) {
            pins::forget(&cache, &reference);
        }
    }

    /// The image's name, as messages give it.
    pub fn name(&self) -> &str {
        &self.resolved.reference
    }

    /// Opens it. The process gets threads.
    ///
    /// # Errors
    /// When it cannot be reached, or is no image.
    pub fn open(&self, observer: &Arc<dyn Observer>) -> anyhow::Result<Opened> {
        self.open_with_start(observer, &[], &mut |_| {})
    }

    /// As [`RemoteImage::open`], with the blob's first bytes if they are known, and word of the
    /// source before it is read.
    ///
    /// # Errors
    /// As [`RemoteImage::open`].
    pub fn open_with_start(
        &self,
        observer: &Arc<dyn Observer>,
        first: &[u8],
        begin: &mut dyn FnMut(&Arc<CachedSource>),
    ) -> anyhow::Result<Opened> {
        let client = Client::new(self.options.clone(), Arc::clone(observer))?;
        let blob = client.blob(&self.resolved)?;
        let key = BlobKey::new(&*self.resolved.key);
        let about = About {
            name: self.resolved.reference.clone(),
            size: self.resolved.size,
            digest: self.resolved.digest.clone(),
            kind: match self.resolved.location {
                Location::Http { .. } => BlobKind::Net,
                Location::Registry { .. } => BlobKind::Oras,
            },
        };
        let (shared, own) = blobs(&key, &about, self.uncached);
        let origin = self.checked(&client, blob, own.as_ref());
        let source = CachedSource::new(about.size, shared, own, origin);
        begin(&source);
        if !first.is_empty() {
            source.keep_start(first);
        }
        let image = Image::from_source(Arc::clone(&source) as _, Path::new(self.name()))?;
        Ok(Opened {
            image,
            source: Some(source),
        })
    }

    /// `blob`, held to the digests of its chunks if somebody published them.
    fn checked(
        &self,
        client: &Arc<Client>,
        blob: Arc<RemoteBlob>,
        own: Option<&Blob>,
    ) -> Arc<dyn Origin> {
        let is_here = |blob: &Blob| blob.is_complete();
        if !matches!(self.resolved.location, Location::Registry { .. })
            || self.options.offline
            || own.is_some_and(is_here)
        {
            return blob;
        }
        // Most registries have none: not asked again for a day.
        let key = &self.resolved.key;
        let cache = own_cache();
        let none_since = cache
            .as_ref()
            .and_then(|cache| cache.note(NO_DIGESTS, key))
            .and_then(|note| Some(u64::from_le_bytes(note.try_into().ok()?)));
        let now = seconds_now();
        if none_since.is_some_and(|since| now.saturating_sub(since) < NO_DIGESTS_FOR) {
            return blob;
        }
        match client.chunk_digests(&self.resolved) {
            Some(digests) => {
                if let Some(own) = own.filter(|own| own.cached_bytes() == 0) {
                    own.set_state(State::Parts);
                }
                Arc::new(VerifiedOrigin::new(blob, Arc::new(digests)))
            }
            None => {
                if let Some(cache) = &cache {
                    // Then it is asked again.
                    let _again = cache.put_note(NO_DIGESTS, key, &now.to_le_bytes());
                }
                blob
            }
        }
    }

    /// The description as a file that nobody can change any more.
    ///
    /// # Errors
    /// What the system reports.
    pub fn seal(&self) -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("skiff-image", flags)?);
        file.write_all(SEAL)?;
        serde_json::to_writer(&file, self)?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        Ok(file.into())
    }

    /// The description in `file`, if that is a sealed one: no file that merely has a name can be.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn unseal(file: &File) -> io::Result<Option<Self>> {
        let sealed = rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| {
            seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)
        });
        if !sealed || file.metadata()?.len() > MAX_SEALED_BYTES {
            return Ok(None);
        }
        let mut content = Vec::new();
        let mut file = file;
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut content)?;
        match content.strip_prefix(SEAL) {
            Some(json) => Ok(Some(serde_json::from_slice(json)?)),
            None => Ok(None),
        }
    }
}

impl Opened {
    /// An image that is a file: its bytes go through the cache if the file is on another machine.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub fn nearby(image: Image) -> io::Result<Self> {
        let Some(file) = image.file().filter(|file| placement::is_far(file)) else {
            return Ok(Self {
                image,
                source: None,
            });
        };
        let name = image.path().display().to_string();
        let origin = FileOrigin::new(file.try_clone()?, name.clone())?;
        let key = BlobKey::new(origin.identity()?);
        let about = About {
            name,
            size: image.source().size(),
            digest: None,
            kind: BlobKind::File,
        };
        let (shared, own) = blobs(&key, &about, false);
        if shared.is_none() && own.is_none() {
            return Ok(Self {
                image,
                source: None,
            });
        }
        let source = CachedSource::new(about.size, shared, own, Arc::new(origin));
        Ok(Self {
            image: image.through(Arc::clone(&source) as _),
            source: Some(source),
        })
    }
}

/// Says how much of an image is on this node and how far its content is known to be right.
pub fn tell_state(opened: &Opened) {
    let Some(blob) = opened.source.as_ref().and_then(|source| source.blob()) else {
        return;
    };
    let state = match blob.state() {
        State::Verified => "verified: all of it was compared with its digest",
        State::Parts => "verified part by part, by digests published beside it",
        State::Mismatch => "WRONG: it does not have the content that its digest promises",
        State::Unverified if blob.about().digest.is_some() => {
            "not verified yet: that is done when all of it is here"
        }
        State::Unverified => "not verifiable: its server publishes no digest",
    };
    let (cached, size) = (blob.cached_bytes(), blob.size());
    output::info(format_args!(
        "{cached} of {size} bytes in the cache; {state}"
    ));
}

/// The user's own cache of this node; `None`, with a remark, when no directory can be used.
pub fn own_cache() -> Option<Cache> {
    let opened = Cache::default_dir().and_then(|dir| Cache::open(&dir, Limits::from_env()));
    match opened {
        Ok(cache) => Some(cache),
        Err(error) => {
            output::verbose(format_args!("no cache: {error}"));
            None
        }
    }
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

/// Where the bytes under `key` are looked for: the shared cache's blob and the own one.
fn blobs(key: &BlobKey, about: &About, uncached: bool) -> (Option<Blob>, Option<Blob>) {
    let shared = shared_cache().and_then(|cache| cache.find(key));
    let own = if uncached {
        temporary_blob(key, about)
    } else {
        own_cache().and_then(|cache| cache.blob(key, about).ok())
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

/// Figures of a source for `skiff stats`.
pub fn figures_json(figures: &CachedFigures) -> serde_json::Value {
    serde_json::json!({
        "hits": figures.hits,
        "hit_bytes": figures.hit_bytes,
        "misses": figures.misses,
        "requests": figures.origin.requests,
        "bytes_fetched": figures.origin.bytes,
        "retries": figures.origin.retries,
        "latency_ms_upper": LATENCY_CLASSES_MS,
        "latency_counts": figures.latencies,
    })
}

/// Seconds of the epoch.
pub fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
