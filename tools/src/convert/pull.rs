//! `pull`: an image becomes a file of the user's. Of several that pull the same at a time one does
//! it, and the others copy its file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use skiff_cache::disk::Cache;
use skiff_fs::image::Image;
use skiff_fs::pack::{Replace, Target};
use skiff_fs::remote::{Client, Digest, Reference};

use super::assemble::{self, Manner};
use super::converted::{self, Converted, Kind, Wanted};
use super::copy::copy;
use super::options::Options;
use super::source::{OciSource, Source, Spec};
use super::watch::Watch;
use super::{fetch, lazy, local, put};
use crate::cli::build::PullArgs;
use crate::output;
use crate::remote::own_cache;

/// Kind of the notes that say where an image was pulled to.
const PULLED: &str = "pulled";
/// Permissions of the file, before the umask.
const MODE: u32 = 0o777;

/// A file that was pulled, as it was then.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Pulled {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// Makes `target` of what `spec` names.
///
/// # Errors
/// One line that says what failed.
pub fn pull(spec: &Spec, options: &Options, target: &Path, args: &PullArgs) -> anyhow::Result<()> {
    let watch = Watch::new();
    if args.lazy {
        return lazy::write(spec, options, target, replace(args), &watch);
    }
    match &spec.source {
        Source::Local(_) => bail!("{} is on this machine already", spec.name()),
        Source::Oci(source) if args.sandbox => {
            let manner = Manner::new(None)?;
            converted::convert(
                spec,
                &Wanted::any(source),
                options,
                Kind::Whole,
                &manner,
                &watch,
                |parts| put(parts, target, true, 0, &manner, &watch),
            )
        }
        Source::Remote(reference) if args.sandbox => {
            let manner = Manner::new(None)?;
            announce(reference);
            let file = fetch::temporary(reference, options, &watch)?;
            output::info("Starting build...");
            let image = Image::from_file(file, reference.name().as_ref())?;
            let parts = local::parts(&image, spec, &manner, &watch)?;
            put(parts, target, true, 0, &manner, &watch)
        }
        Source::Oci(source) => pull_oci(spec, source, options, target, args, &watch),
        Source::Remote(reference) => pull_file(reference, options, target, args, &watch),
    }
}

fn pull_oci(
    spec: &Spec,
    source: &OciSource,
    options: &Options,
    target: &Path,
    args: &PullArgs,
    watch: &Watch,
) -> anyhow::Result<()> {
    let manner = Manner::new(None)?;
    let cache = own_cache().filter(|_| !options.uncached && !manner.reproducible);
    let Some(cache) = cache else {
        return converted::convert(
            spec,
            &Wanted::any(source),
            options,
            Kind::Whole,
            &manner,
            watch,
            |parts| {
                converted::announce(Kind::Whole, watch);
                assemble::sif(parts, target, MODE, replace(args), &manner, watch)
            },
        );
    };
    // Whoever pulls wants what the name stands for now, not what it did a moment ago.
    let mut now = options.clone();
    now.remote.tag_ttl = Duration::ZERO;
    let digest = converted::identity(Some(&cache), source, &now, watch)?;
    let key = converted::key(&digest, &options.platform, Kind::Whole);
    let _lock = converted::lock(&cache, &key);
    let note = format!("{key} {}:{}", spec.bootstrap, spec.from);
    let known = Converted::find(&cache, &key).map(|found| found.file);
    if let Some(file) = known.or_else(|| earlier(&cache, &note)) {
        output::info("Using cached SIF image");
        put_copy(&file, target, args)?;
        remember(&cache, &note, target);
        return Ok(());
    }
    converted::convert(
        spec,
        &Wanted::held_to(source, &digest),
        options,
        Kind::Whole,
        &manner,
        watch,
        |parts| {
            converted::announce(Kind::Whole, watch);
            assemble::sif(parts, target, MODE, replace(args), &manner, watch)
        },
    )?;
    remember(&cache, &note, target);
    Ok(())
}

fn pull_file(
    reference: &Reference,
    options: &Options,
    target: &Path,
    args: &PullArgs,
    watch: &Watch,
) -> anyhow::Result<()> {
    let client = Client::new(options.remote.clone(), watch.observer())?;
    let (resolved, _) = client.resolve(reference)?;
    let cache = own_cache().filter(|_| !options.uncached);
    let lock = cache.as_ref().map(|cache| {
        let key = Digest::of(resolved.key.as_bytes()).hex().to_owned();
        (converted::lock(cache, &key), cache, key)
    });
    if let Some((_, cache, key)) = &lock
        && let Some(file) = earlier(cache, key)
        && file.metadata()?.len() == resolved.size
    {
        output::info("Using cached image");
        put_copy(&file, target, args)?;
        remember(cache, key, target);
        return Ok(());
    }
    announce(reference);
    let place = create(target)?;
    let digest = fetch::into(&client, &resolved, place.file(), watch)?;
    if resolved.digest.is_some() {
        output::info(format_args!("Digest: {digest}"));
    }
    place.commit(replace(args)).with_context(|| at(target))?;
    if let Some((_, cache, key)) = &lock {
        remember(cache, key, target);
    }
    Ok(())
}

fn announce(reference: &Reference) {
    output::info(match reference {
        Reference::Oras(_) => "Downloading oras image",
        Reference::Http(_) => "Downloading network image",
    });
}

fn replace(args: &PullArgs) -> Replace {
    if args.force {
        Replace::Yes
    } else {
        Replace::No
    }
}

fn at(target: &Path) -> String {
    format!("writing {}", target.display())
}

fn create(target: &Path) -> anyhow::Result<Target> {
    Target::create(target, MODE).with_context(|| at(target))
}

fn put_copy(file: &File, target: &Path, args: &PullArgs) -> anyhow::Result<()> {
    let place = create(target)?;
    copy(file, place.file()).with_context(|| at(target))?;
    place.commit(replace(args)).with_context(|| at(target))
}

/// The file that was pulled before, if it is still the same.
fn earlier(cache: &Cache, key: &str) -> Option<File> {
    let pulled: Pulled = serde_json::from_slice(&cache.note(PULLED, key)?).ok()?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(&pulled.path)
        .ok()?;
    (describe(&file, &pulled.path)? == pulled).then_some(file)
}

fn describe(file: &File, path: &Path) -> Option<Pulled> {
    let data = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(Pulled {
        path: path.to_owned(),
        device: data.dev(),
        inode: data.ino(),
        size: data.size(),
        changed: (data.mtime(), data.mtime_nsec()),
    })
}

/// Notes where the image is; without the note it is fetched again.
fn remember(cache: &Cache, key: &str, target: &Path) {
    let note = target
        .canonicalize()
        .ok()
        .and_then(|path| describe(&File::open(&path).ok()?, &path))
        .and_then(|pulled| serde_json::to_vec(&pulled).ok());
    if let Some(note) = note {
        let _again = cache.put_note(PULLED, key, &note);
    }
}
