//! Images that are elsewhere, as commands and servers use them.
//!
//! ```text
//! name ─ reference ─► locate ─► RemoteImage ──sealed──► server ─ open ─► image over cached source
//!                       └ the answer of the last time, or a child process that asks the registry
//! ```
//! The launching process has one thread and stays so: whatever talks to a network is a child of it
//! ([`errand`]) or the server. Errors of finding and opening are therefore the launching command's
//! own, on its own terminal.

mod caches;
mod image;
pub mod progress;
pub mod voice;

pub use caches::{most_at_once, own_cache, shared_cache};
pub use image::{Opened, RemoteImage, tell_state};

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use skiff_fs::format::squashfs::SquashfsOptions;
use skiff_fs::image::{Image, ImageError};
use skiff_fs::remote::{Observer, Reference, RemoteError, RemoteOptions, pins};
use skiff_fs::source::CachedFigures;
use skiff_fs::source::origin::{LATENCY_CLASSES_MS, OriginFigures};
use skiff_launcher::process::errand;

use crate::encryption::{self, Material};
use crate::launch::image::check_arch;
use progress::Progress;

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
/// cache: from the answer of the last time if that is recent, else in a child process. `key` opens
/// an encrypted image.
///
/// The calling process must have one thread.
///
/// # Errors
/// One line that says why there is no such image, or why it cannot be run.
pub fn locate(
    reference: &Reference,
    options: &RemoteOptions,
    uncached: bool,
    key: Option<&Material>,
) -> anyhow::Result<RemoteImage> {
    // Who fills the shared cache asks for all.
    let recent = [own_cache, shared_cache]
        .iter()
        .find_map(|cache| pins::recent(&cache()?, reference, options));
    // A key has to be tried on the image itself.
    if let (Some(resolved), None) = (recent, key) {
        return Ok(RemoteImage {
            reference: reference.to_string(),
            resolved,
            options: options.clone(),
            spent: OriginFigures::default(),
            uncached,
            content_key: None,
        });
    }
    let answer = errand::send_out(|| {
        locate_here(reference, options, uncached, key)
            .and_then(|remote| Ok(serde_json::to_vec(&remote)?))
            .map_err(|error| format!("{error:#}"))
    })?;
    serde_json::from_slice(&answer).context("reading what the child found")
}

/// As [`locate`], in this process, which gets threads.
///
/// # Errors
/// As [`locate`].
pub fn locate_here(
    reference: &Reference,
    options: &RemoteOptions,
    uncached: bool,
    key: Option<&Material>,
) -> anyhow::Result<RemoteImage> {
    find_here(reference, options, uncached, Some(key))
}

/// As [`locate_here`], of an image that need not be fit to run: only what it says about itself is
/// wanted.
///
/// # Errors
/// As [`locate`].
pub fn locate_to_inspect(
    reference: &Reference,
    options: &RemoteOptions,
    uncached: bool,
) -> anyhow::Result<RemoteImage> {
    find_here(reference, options, uncached, None)
}

/// `key` is for images that are to be run.
fn find_here(
    reference: &Reference,
    options: &RemoteOptions,
    uncached: bool,
    key: Option<Option<&Material>>,
) -> anyhow::Result<RemoteImage> {
    let progress = Progress::start(&reference.name());
    let observer: Arc<dyn Observer> = progress.clone();
    let cache = own_cache();
    let found = pins::resolve(cache.as_ref(), reference, options, &observer);
    let (resolved, first) = found?;
    let mut remote = RemoteImage {
        reference: reference.to_string(),
        resolved,
        options: options.clone(),
        spent: OriginFigures {
            requests: u64::from(!first.is_empty()),
            bytes: first.len() as u64,
            retries: 0,
        },
        uncached,
        content_key: None,
    };
    let mut source = None;
    let mut content_key = None;
    let checked = remote
        .open_with_start(&observer, &first, &mut |opened| {
            progress.follow(Arc::clone(opened));
            source = Some(Arc::clone(opened));
        })
        .and_then(|mut opened| {
            match key {
                Some(key) => encryption::unlock(&mut opened.image, key)?,
                None if opened.image.is_encrypted() => return Ok(()),
                None => {}
            }
            content_key = opened.image.content_key().cloned();
            check(&opened.image)
        });
    progress.finish();
    let Err(error) = checked else {
        if let Some(source) = source {
            remote.spent = source.figures().origin;
        }
        remote.content_key = content_key;
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
pub(crate) fn was_replaced(error: &anyhow::Error) -> bool {
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
