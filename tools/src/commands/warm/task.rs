//! One image: found, opened, and what was asked for of it brought into the cache.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use skiff_cache::disk::Blob;
use skiff_fs::image::ImageError;
use skiff_fs::remote::{Observer, Reference, hide_secrets, pins};
use skiff_fs::source::{CachedSource, placement};

use super::fetch::{self, Budget};
use super::glob::Glob;
use super::report::{End, Figures, Report};
use super::select::{self, Files};
use super::startup;
use super::view::View;
use crate::cli::Context;
use crate::cli::remote::RemoteArgs;
use crate::launch::image as local;
use crate::remote::{self, Opened, RemoteImage};

/// Which parts are wanted of every image.
#[derive(Debug)]
pub(super) enum Wanted {
    /// What it needs to start.
    Startup,
    /// All of it.
    Everything,
    /// Certain files of its tree.
    Files {
        /// By pattern, as it was written.
        globs: Vec<(OsString, Glob)>,
        /// By path.
        paths: Vec<Vec<u8>>,
    },
}

/// What all images have in common.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) wanted: Wanted,
    pub(super) pin: bool,
    pub(super) remote: RemoteArgs,
    pub(super) context: Context,
    pub(super) budget: Budget,
    pub(super) report: Arc<Report>,
}

/// How far it went without a failure.
enum Way {
    All,
    Limited,
    /// There was nothing to do, and why.
    Nothing(&'static str),
}

/// An image on its way.
#[derive(Debug)]
pub(super) struct Task {
    /// As it was named.
    pub(super) name: OsString,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    source: Option<Arc<CachedSource>>,
    /// Came along with the name, before there was a source.
    first: u64,
    pinned: bool,
}

impl Task {
    pub(super) fn new(name: OsString) -> Self {
        Self {
            name,
            state: Mutex::default(),
        }
    }

    /// The name without secrets.
    pub(super) fn shown(&self) -> String {
        match remote::reference(&self.name) {
            Ok(Some(reference)) => reference.name(),
            _ => hide_secrets(&self.name.to_string_lossy()),
        }
    }

    /// How far it is.
    pub(super) fn figures(&self) -> Figures {
        let state = self.lock();
        let source = state.source.clone();
        let mut figures = Figures {
            fetched: state.first,
            pinned: state.pinned,
            took: state.begun.map(|begun| begun.elapsed()).unwrap_or_default(),
            ..Figures::default()
        };
        drop(state);
        if let Some(source) = source {
            figures.fetched += source.figures().origin.bytes;
            let size = skiff_fs::source::Source::size(&*source);
            let missing = source.missing(0..size).into_iter();
            let missing: u64 = missing.map(|range| range.end - range.start).sum();
            figures.size = Some(size);
            figures.cached = size.saturating_sub(missing);
        }
        figures
    }

    /// Bytes that came so far, without looking at the cache.
    pub(super) fn fetched(&self) -> u64 {
        let state = self.lock();
        let source = state.source.as_ref();
        state.first + source.map_or(0, |source| source.figures().origin.bytes)
    }

    /// Does it; the end, and why.
    pub(super) fn run(&self, wish: &Wish) -> (End, Option<String>) {
        self.lock().begun = Some(Instant::now());
        wish.report.start(&self.shown());
        let mut way = self.warm(wish);
        if way.as_ref().is_err_and(remote::was_replaced) {
            // What the name was known to stand for is gone: it is looked up again, once.
            self.forget();
            way = self.warm(wish);
        }
        match way {
            Ok(Way::All) => (End::Done, None),
            Ok(Way::Limited) => (End::Limited, None),
            Ok(Way::Nothing(reason)) => (End::Nothing, Some(reason.to_owned())),
            Err(error) => (End::Failed, Some(format!("{error:#}"))),
        }
    }

    fn warm(&self, wish: &Wish) -> anyhow::Result<Way> {
        let (opened, has_ranges) = match remote::reference(&self.name)? {
            Some(reference) => self.open_elsewhere(&reference, wish)?,
            None => match open_here(&self.name)? {
                Here::Nothing(reason) => return Ok(Way::Nothing(reason)),
                Here::Far(opened) => (opened, true),
            },
        };
        let source = opened.source.context("there is no cache to fill")?;
        self.lock().source = Some(Arc::clone(&source));
        let Some(blob) = source.blob() else {
            anyhow::bail!("there is no cache directory that can be written");
        };
        if wish.pin {
            let cache = remote::own_cache().context("there is no cache to pin it in")?;
            let pinned = cache.pin(blob.key()).context("pinning it")?;
            self.lock().pinned = pinned;
        }
        let size = skiff_fs::source::Source::size(&*source);
        let whole = (!has_ranges).then_some(size);
        let limited = Cell::new(false);
        let fetch = |ranges: &[std::ops::Range<u64>]| {
            let sufficed = fetch::ranges(&source, ranges, whole, room(blob), &wish.budget)?;
            limited.set(limited.get() || !sufficed);
            Ok::<_, anyhow::Error>(())
        };
        let way = || match limited.get() {
            true => Way::Limited,
            false => Way::All,
        };
        if matches!(wish.wanted, Wanted::Everything) {
            let everything = 0..size;
            fetch(std::slice::from_ref(&everything))?;
            return Ok(way());
        }
        let view = View::open(opened.image, Arc::clone(&source))?;
        fetch(&view.metadata())?;
        match &wish.wanted {
            Wanted::Everything => {}
            Wanted::Startup => {
                startup::warm(&view, &mut |files| fetch(&view.places(files)?))?;
            }
            Wanted::Files { globs, paths } => {
                let mut files = Files::default();
                let mut absent = Absent::default();
                for (text, glob) in globs {
                    let any = select::by_glob(view.tree(), glob, &mut files)?;
                    absent.note(any, text.as_encoded_bytes());
                }
                for path in paths {
                    let any = select::by_path(view.tree(), path, &mut files)?;
                    absent.note(any, path);
                }
                fetch(&view.places(&files.take())?)?;
                absent.into_error()?;
            }
        }
        Ok(way())
    }

    fn open_elsewhere(&self, reference: &Reference, wish: &Wish) -> anyhow::Result<(Opened, bool)> {
        let options = wish.remote.options(reference, &wish.context)?;
        let observer: Arc<dyn Observer> = Arc::clone(&wish.report) as _;
        let cache = remote::own_cache();
        let found = pins::resolve(cache.as_ref(), reference, &options, &observer);
        let (resolved, first) = found?;
        self.lock().first = first.len() as u64;
        let has_ranges = resolved.has_ranges;
        let image = RemoteImage {
            spent: Default::default(),
            reference: reference.to_string(),
            resolved,
            options,
            uncached: false,
            content_key: None,
        };
        let opened = image.open_with_start(&observer, &first, &mut |source| {
            self.lock().source = Some(Arc::clone(source));
        });
        let opened = opened.inspect_err(|error| {
            // What is no image is not kept; the next one under this name may be.
            if matches!(error.downcast_ref(), Some(ImageError::NotRecognized)) {
                let source = self.lock().source.take();
                if let Some(blob) = source.as_ref().and_then(|source| source.blob()) {
                    blob.discard();
                }
                image.forget_if(true);
            }
        })?;
        Ok((opened, has_ranges))
    }

    fn forget(&self) {
        let reference = remote::reference(&self.name);
        if let (Ok(Some(reference)), Some(cache)) = (reference, remote::own_cache()) {
            pins::forget(&cache, &reference);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the cache's quota is not taken by the image itself.
fn room(blob: &Blob) -> u64 {
    let usage = remote::own_cache().and_then(|cache| cache.usage().ok());
    usage.map_or(u64::MAX, |usage| {
        usage.quota.saturating_sub(blob.cached_bytes())
    })
}

/// An image with a path.
enum Here {
    Nothing(&'static str),
    Far(Opened),
}

fn open_here(name: &OsStr) -> anyhow::Result<Here> {
    local::refuse_transports(name)?;
    let path = local::resolve(Path::new(name)).map_err(anyhow::Error::msg)?;
    let Some(image) = local::open(&path).map_err(anyhow::Error::msg)? else {
        return Ok(Here::Nothing("a directory is used where it is"));
    };
    if !image.file().is_some_and(placement::is_far) {
        return Ok(Here::Nothing("on a local disk"));
    }
    Ok(Here::Far(Opened::nearby(image)?))
}

/// What was asked for and is not in the image.
#[derive(Debug, Default)]
struct Absent {
    asked: usize,
    absent: usize,
    first: Option<String>,
}

impl Absent {
    fn note(&mut self, is_there: bool, what: &[u8]) {
        self.asked += 1;
        if !is_there {
            self.absent += 1;
            self.first
                .get_or_insert_with(|| String::from_utf8_lossy(what).into_owned());
        }
    }

    fn into_error(self) -> anyhow::Result<()> {
        match (self.absent, self.first) {
            (0, _) | (_, None) => Ok(()),
            (1, Some(first)) => anyhow::bail!("{first} is not in the image"),
            (absent, Some(first)) => anyhow::bail!(
                "{absent} of {} patterns and paths are not in the image, the first: {first}",
                self.asked
            ),
        }
    }
}
