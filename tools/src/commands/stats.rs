//! `stats`: what an image's server did, and what the cache has of the image.
//!
//! A server is asked through its holder's socket, which only its user, session and job step find; an
//! image without one has the cache's facts only. Images of the cache that run under another session
//! show as not running.

mod figures;
mod prometheus;
mod text;

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use skiff_cache::disk::{BlobInfo, BlobKey, BlobKind, Cache};
use skiff_fs::image::Image;
use skiff_fs::source::origin::FileOrigin;
use skiff_fs::source::placement;
use skiff_launcher::holder::client;
use skiff_launcher::holder::key::HolderKey;

use super::cache::{existing, names, show};
use crate::cli::Context;
use crate::cli::cache::StatsArgs;
use crate::exit::{CommandError, ExitStatus};
use crate::launch::image;
use crate::output;
use crate::remote;
use crate::text::go_path;
use figures::Figures;

/// All that is known of one image.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Report {
    /// What users call it.
    image: String,
    /// Name of its entry in the cache; `None` for a local file.
    id: Option<String>,
    /// Bytes of the image.
    size: u64,
    /// What the user's own cache has of it.
    cache: Option<Entry>,
    /// What the node's shared cache has of it.
    shared_cache: Option<Entry>,
    /// What its server did; `None` when none is running.
    server: Option<Figures>,
}

/// An entry of a cache.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Entry {
    cached: u64,
    share_percent: u64,
    pinned: bool,
    state: &'static str,
    last_use_ms: u64,
}

impl Entry {
    fn new(info: &BlobInfo) -> Self {
        Self {
            cached: info.cached_bytes,
            share_percent: show::percent(info.cached_bytes, info.about.size),
            pinned: info.pinned,
            state: show::state(info.state),
            last_use_ms: info.last_use,
        }
    }
}

/// The caches of this node and what they have.
#[derive(Default)]
struct Caches {
    cache: Option<Cache>,
    own: Vec<BlobInfo>,
    shared: Vec<BlobInfo>,
}

impl Caches {
    fn open() -> anyhow::Result<Self> {
        let cache = existing()?;
        let own = cache.as_ref().map(Cache::list).transpose()?;
        // A shared cache is nothing that one could do without.
        let shared = remote::shared_cache().and_then(|cache| cache.list().ok());
        Ok(Self {
            cache,
            own: own.unwrap_or_default(),
            shared: shared.unwrap_or_default(),
        })
    }

    fn infos(&self, key: &BlobKey) -> [Option<&BlobInfo>; 2] {
        [&self.own, &self.shared].map(|infos| infos.iter().find(|info| info.key == *key))
    }
}

/// `stats IMAGE`, `stats --all`
///
/// # Errors
/// An image that is not there, and a cache or a server that cannot be asked.
pub fn run(args: &StatsArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    if args.json && args.prometheus {
        return Err(CommandError("--json and --prometheus exclude each other".to_owned()).into());
    }
    let caches = Caches::open()?;
    let reports = match (args.words.first(), args.all) {
        (Some(name), false) => vec![report(&caches, name)?],
        (None, true) => all(&caches),
        _ => return Err(CommandError("name an image, or say --all".to_owned()).into()),
    };
    let text = if args.prometheus {
        let usage = caches.cache.as_ref().and_then(|cache| cache.usage().ok());
        prometheus::exposition(&reports, usage.as_ref())
    } else if args.json && args.all {
        format!("{}\n", serde_json::to_string_pretty(&reports)?)
    } else if args.json {
        format!("{}\n", serde_json::to_string_pretty(&reports[0])?)
    } else {
        text::page(&reports)
    };
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}

fn all(caches: &Caches) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for info in caches.own.iter().chain(&caches.shared) {
        let id = info.key.stem();
        if reports.iter().any(|known| known.id.as_ref() == Some(&id)) {
            continue;
        }
        let holder = match info.about.kind {
            BlobKind::File | BlobKind::Converted => holder_of_file(info),
            BlobKind::Net | BlobKind::Oras | BlobKind::Oci => {
                HolderKey::of_identity(info.key.as_str()).ok()
            }
        };
        let server = holder.and_then(|holder| match ask(&holder) {
            Ok(figures) => figures,
            Err(error) => {
                output::warning(format_args!("{}: {error:#}", info.about.name));
                None
            }
        });
        reports.push(of_entry(
            caches,
            &info.key,
            &info.about.name,
            info.about.size,
            server,
        ));
    }
    reports
}

/// The holder of a file of the cache, if the file still has these bytes.
fn holder_of_file(info: &BlobInfo) -> Option<HolderKey> {
    let image = Image::open(Path::new(&info.about.name)).ok()?;
    let file = image.file()?;
    let origin = FileOrigin::new(file.try_clone().ok()?, info.about.name.clone()).ok()?;
    if origin.identity().ok()? != info.key.as_str() {
        return None;
    }
    HolderKey::new(&file.metadata().ok()?, image.offset()).ok()
}

fn report(caches: &Caches, name: &OsStr) -> anyhow::Result<Report> {
    match remote::reference(name)? {
        Some(reference) => {
            // As messages and listings have it: what follows the ? may be a signature.
            let canonical = reference.name();
            let known = caches
                .cache
                .as_ref()
                .and_then(|cache| names::last_known(cache, &reference));
            let (key, size) = match known {
                Some(resolved) => (BlobKey::new(resolved.key), resolved.size),
                // A shared cache has no notes of ours.
                None => caches
                    .own
                    .iter()
                    .chain(&caches.shared)
                    .find(|info| reference.is_of(&info.about.name, info.key.as_str()))
                    .map(|info| (info.key.clone(), info.about.size))
                    .with_context(|| {
                        format!("{canonical}: neither in the cache nor running here")
                    })?,
            };
            let server = ask(&HolderKey::of_identity(key.as_str())?)?;
            Ok(of_entry(caches, &key, &canonical, size, server))
        }
        None => of_file(caches, name),
    }
}

fn of_entry(
    caches: &Caches,
    key: &BlobKey,
    name: &str,
    size: u64,
    server: Option<Figures>,
) -> Report {
    let [own, shared] = caches.infos(key);
    Report {
        image: name.to_owned(),
        id: Some(key.stem()),
        size,
        cache: own.map(Entry::new),
        shared_cache: shared.map(Entry::new),
        server,
    }
}

fn of_file(caches: &Caches, name: &OsStr) -> anyhow::Result<Report> {
    let could_not = |reason| anyhow!("could not open image {}: {reason}", name.display());
    let path = image::resolve(&go_path(Path::new(name))?).map_err(could_not)?;
    let Some(image) = image::open(&path).map_err(could_not)? else {
        bail!(
            "{}: a directory has no server and no figures",
            name.display()
        );
    };
    let file = image
        .file()
        .with_context(|| format!("{}: no file", name.display()))?;
    let server = ask(&HolderKey::new(&file.metadata()?, image.offset())?)?;
    let text = path.display().to_string();
    if placement::is_far(file) {
        let origin = FileOrigin::new(file.try_clone()?, text.clone())?;
        let key = BlobKey::new(origin.identity()?);
        let size = image.source().size();
        return Ok(of_entry(caches, &key, &text, size, server));
    }
    Ok(Report {
        image: text,
        id: None,
        size: image.source().size(),
        cache: None,
        shared_cache: None,
        server,
    })
}

/// What the server of `holder` says; `None` when there is none.
fn ask(holder: &HolderKey) -> anyhow::Result<Option<Figures>> {
    let answer = client::statistics(holder).context("asking the image's server")?;
    answer
        .map(|json| serde_json::from_str(&json).context("reading the server's figures"))
        .transpose()
}

#[cfg(test)]
mod tests;
