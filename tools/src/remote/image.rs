//! An image that was found elsewhere: a description that travels to the server, and opening it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use skiff_cache::disk::{About, Blob, BlobKey, BlobKind, State};
use skiff_fs::format::gocryptfs::ContentKey;
use skiff_fs::image::Image;
use skiff_fs::remote::{
    Client, Location, Observer, Reference, RemoteBlob, RemoteOptions, Resolved, pins,
};
use skiff_fs::source::origin::{FileOrigin, Origin, OriginFigures, VerifiedOrigin};
use skiff_fs::source::{CachedSource, placement};

use super::caches::{blobs, own_cache};
use crate::output;
use crate::sealed;

/// First line of a sealed description.
const TITLE: &[u8] = b"skiff remote image 1\n";

/// Note that no digests of chunks were to be had for a blob, and how many seconds it is believed: a
/// look that failed must not keep a node from checking what it fetches for long.
const NO_DIGESTS: &str = "no-digests";
const NO_DIGESTS_FOR: u64 = 10 * 60;

/// An image that was found elsewhere, with all that a server needs to serve it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteImage {
    /// What was looked up, in full.
    pub reference: String,
    /// What the name stands for: these bytes and no others.
    pub resolved: Resolved,
    /// How to get at it.
    pub options: RemoteOptions,
    /// What finding it has cost already.
    #[serde(default)]
    pub spent: OriginFigures,
    /// Keep nothing of it behind: `--disable-cache`.
    pub uncached: bool,
    /// What opens an encrypted root.
    #[serde(default)]
    pub content_key: Option<ContentKey>,
}

/// An open image and where its bytes come from.
#[derive(Debug)]
pub struct Opened {
    /// The image.
    pub image: Image,
    /// Its bytes; `None` for a file on a disk of this machine.
    pub source: Option<Arc<CachedSource>>,
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
        source.count_earlier(self.spent);
        begin(&source);
        if !first.is_empty() {
            source.keep_start(first);
        }
        let image = Image::from_source(Arc::clone(&source) as _, Path::new(self.name()))?
            .with_content_key(self.content_key.clone());
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
        // Most registries have none: not asked by every start.
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
        sealed::seal(TITLE, self)
    }

    /// The description in `file`, if that is a sealed one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn unseal(file: &File) -> io::Result<Option<Self>> {
        sealed::unseal(file, TITLE)
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

/// Seconds of the epoch.
fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
