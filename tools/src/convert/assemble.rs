//! Layers become the root file system of a SIF, or a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use skiff_fs::format::sif::image::WrittenRoot;
use skiff_fs::format::sif::{self, Arch, FsType, ImageParts, WriterOptions};
use skiff_fs::format::squashfs::write::{Finished, SquashfsWriter, WriteOptions};
use skiff_fs::layers::{Layer, MergeOptions, Merged, Owners, merge};
use skiff_fs::pack::{AccessProfile, DirectoryOptions, DirectorySink, Replace, Sink, Target};
use skiff_fs::temporary;

use super::watch::Watch;
use crate::dot_singularity::BuildDate;
use crate::encryption::Seal;
use crate::output;
use crate::text::{go_path, os_error};

/// Permissions of a directory's owner, without which it cannot be removed.
const CLOSED: [&str; 3] = [
    "The sandbox contain files/dirs that cannot be removed with 'rm'.",
    "Use 'chmod -R u+rwX' to set permissions that allow removal.",
    "Use the '--fix-perms' option to 'apptainer build' to modify permissions at build time.",
];

/// What an image consists of.
#[derive(Default)]
pub struct Parts {
    /// The uppermost first.
    pub layers: Vec<Box<dyn Layer>>,
    /// The definition that the SIF carries.
    pub definition: Vec<u8>,
    /// Its JSON objects by name; empty ones are left out.
    pub json: BTreeMap<String, Vec<u8>>,
    /// What its programs run on.
    pub arch: Option<Arch>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("layers", &self.layers.len())
            .field("arch", &self.arch)
            .finish_non_exhaustive()
    }
}

/// How images are made.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Owners get at everything.
    pub fix_perms: bool,
    /// Everything belongs to root, whoever makes it.
    pub all_root: bool,
    /// Owners and attributes are kept for a root that is to come, whoever calls.
    pub for_root: bool,
    /// How squashfs is written.
    pub squashfs: WriteOptions,
    /// Which files lie together, in which order.
    pub profile: Option<Arc<AccessProfile>>,
    /// When.
    pub date: BuildDate,
    /// The same bytes whenever it is done: the time is given by `SOURCE_DATE_EPOCH`.
    pub reproducible: bool,
    /// What a SIF's root is encrypted with, if it is.
    pub seal: Option<Seal>,
}

impl Manner {
    /// For the base of a build: whoever is root there sees the owners and attributes of the layers.
    ///
    /// # Errors
    /// None so far; as [`Manner::new`].
    pub fn for_base() -> anyhow::Result<Self> {
        Ok(Self {
            for_root: true,
            ..Self::new(None)?
        })
    }

    /// The usual one, with `--mksquashfs-args` if there are any.
    ///
    /// # Errors
    /// Arguments that are not understood.
    pub fn new(mksquashfs_args: Option<&OsStr>) -> anyhow::Result<Self> {
        let given = std::env::var("SOURCE_DATE_EPOCH").ok();
        let date = BuildDate::new(given.as_deref());
        let reproducible = given.is_some_and(|text| text.trim().parse::<i64>().is_ok());
        let mut squashfs = match mksquashfs_args.and_then(OsStr::to_str) {
            Some(text) if !text.trim().is_empty() => {
                let (options, remarks) = WriteOptions::from_mksquashfs_args(text)?;
                for remark in remarks {
                    output::info(remark);
                }
                options
            }
            _ => WriteOptions::default(),
        };
        if squashfs.time == 0 {
            squashfs.time = date.0;
        }
        if reproducible {
            squashfs.latest_time = Some(date.0);
        }
        Ok(Self {
            fix_perms: false,
            all_root: false,
            for_root: false,
            squashfs,
            profile: None,
            date,
            reproducible,
            seal: None,
        })
    }

    /// What whoever calls may keep of owners, devices and attributes.
    pub fn merging(&self) -> MergeOptions {
        let options = match (rustix::process::geteuid().is_root(), self.for_root) {
            (true, _) => MergeOptions::root(),
            // Devices are still what nobody else can make.
            (false, true) => MergeOptions {
                devices: MergeOptions::default().devices,
                ..MergeOptions::root()
            },
            (false, false) => MergeOptions::default(),
        };
        MergeOptions {
            fix_perms: self.fix_perms,
            mtime: self.date.0,
            owners: if self.all_root {
                Owners::AllRoot
            } else {
                options.owners
            },
            ..options
        }
    }
}

/// Makes a SIF of `parts` that is at `target` when it is complete.
///
/// # Errors
/// One line that says what failed.
pub fn sif(
    parts: Parts,
    target: &Path,
    mode: u32,
    replace: Replace,
    manner: &Manner,
    watch: &Watch,
) -> anyhow::Result<()> {
    let creating = || format!("while creating SIF: {}", target.display());
    // A target such as `.` has no name of its own.
    let path = go_path(target)?;
    let place = Target::create(&path, mode).with_context(creating)?;
    sif_in(parts, place.file().try_clone()?, manner, watch)?;
    give_to_caller(place.file());
    let is_directory = path.symlink_metadata().is_ok_and(|data| data.is_dir());
    if is_directory && replace == Replace::Yes {
        return instead_of_directory(place, &path).with_context(creating);
    }
    place.commit(replace).with_context(creating)?;
    Ok(())
}

/// Makes a SIF of `parts` in `file`, which is empty.
///
/// # Errors
/// As [`sif`].
pub fn sif_in(parts: Parts, file: File, manner: &Manner, watch: &Watch) -> anyhow::Result<()> {
    let options = if manner.reproducible {
        WriterOptions::reproducible()
    } else {
        WriterOptions::made_at(manner.date.0)?
    };
    let whole = file.try_clone()?;
    let about = ImageParts {
        definition: Some(&parts.definition),
        json: &parts.json,
        arch: parts.arch.unwrap_or_else(Arch::host),
        fs: match manner.seal {
            Some(_) => FsType::GocryptfsSquashfs,
            None => FsType::Squashfs,
        },
        options,
    };
    let mut merged = None;
    let mut layers = parts.layers;
    let made = sif::image::write(file, &about, |file, offset| {
        let mut pack = |file: File, offset| {
            let mut writer = SquashfsWriter::new(file, offset, manner.squashfs)?;
            if let Some(profile) = &manner.profile {
                let kept = tempfile::tempfile_in(temporary::directory())
                    .context("making a temporary file for the files of the access profile")?;
                writer = writer.with_profile(Arc::clone(profile), kept);
            }
            let layers = std::mem::take(&mut layers);
            let done = merged.insert(run(layers, &mut writer, manner, watch)?);
            let Finished { size, profile } = writer.complete(&done.tree)?;
            Ok::<_, anyhow::Error>(WrittenRoot { size, profile })
        };
        let Some(seal) = &manner.seal else {
            return pack(file, offset);
        };
        // Whole, and without a name, before it is encrypted: its beginning is written last.
        let plain = tempfile::tempfile_in(temporary::directory())
            .context("making a temporary file for the root file system")?;
        let size = pack(plain.try_clone()?, 0)?.size;
        // Nothing of it lies where it did.
        seal.close(&plain, size, &file, offset, manner.date.0)
            .map(WrittenRoot::plain)
    });
    watch.finish();
    let root = made?;
    if let Some(seal) = &manner.seal {
        seal.tell(&whole, root, manner.date.0)?;
    }
    if let Some(merged) = merged {
        tell(&merged, watch);
    }
    Ok(())
}

/// Makes a directory of `parts` that is at `target` when it is complete; what is there goes.
///
/// # Errors
/// As [`sif`].
pub fn sandbox(parts: Parts, target: &Path, manner: &Manner, watch: &Watch) -> anyhow::Result<()> {
    let creating = || format!("while creating sandbox {}", target.display());
    let lost = Arc::new(Mutex::new(BTreeSet::new()));
    let losing = Arc::clone(&lost);
    let options = DirectoryOptions {
        // Others can give nothing away, and devices and attributes are out already.
        owners: rustix::process::geteuid().is_root() && !manner.all_root,
        replace: true,
        warn: Some(Arc::new(move |text: &str| {
            if let Ok(mut lost) = losing.lock() {
                lost.insert(text.to_owned());
            }
        })),
    };
    let mut sink = DirectorySink::create(&go_path(target)?, options).with_context(creating)?;
    let merged = run(parts.layers, &mut sink, manner, watch)?;
    Box::new(sink).finish(&merged.tree).with_context(creating)?;
    watch.finish();
    tell(&merged, watch);
    for text in lost.lock().iter().flat_map(|lost| lost.iter()) {
        watch.warning(text);
    }
    if merged.closed_directories > 0 && !rustix::process::geteuid().is_root() {
        for line in CLOSED {
            watch.warning(line);
        }
    }
    Ok(())
}

fn run(
    layers: Vec<Box<dyn Layer>>,
    sink: &mut dyn Sink,
    manner: &Manner,
    watch: &Watch,
) -> anyhow::Result<Merged> {
    let mut progress = |progress: skiff_fs::layers::merge::Progress<'_>| {
        watch.content(progress.content);
    };
    Ok(merge(layers, sink, &manner.merging(), &mut progress)?)
}

fn tell(merged: &Merged, watch: &Watch) {
    if merged.devices > 0 {
        watch.warning(&format!(
            "{} device file(s) became empty files: only root can make devices",
            merged.devices
        ));
    }
    if merged.xattrs > 0 {
        output::verbose(format_args!(
            "{} extended attributes were left out: only root can keep them",
            merged.xattrs
        ));
    }
}

/// What root makes for somebody by sudo belongs to him.
fn give_to_caller(file: &File) {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        let owner = rustix::fs::Uid::from_raw(uid);
        let group = rustix::fs::Gid::from_raw(gid);
        if let Err(error) = rustix::fs::fchown(file, Some(owner), Some(group)) {
            output::warning(format_args!("the image stays root's: {error}"));
        }
    }
}

/// Puts a file where a directory is, which it cannot replace: the directory goes aside, and comes
/// back unless the file gets there.
fn instead_of_directory(place: Target, path: &Path) -> anyhow::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".skiff-old-{}", std::process::id()));
    let aside = path.with_file_name(name);
    std::fs::rename(path, &aside)
        .with_context(|| format!("moving the directory {} away", path.display()))?;
    if let Err(error) = place.commit(Replace::No) {
        std::fs::rename(&aside, path)
            .with_context(|| format!("the directory that was there is {} now", aside.display()))?;
        return Err(error.into());
    }
    if let Err(error) = std::fs::remove_dir_all(&aside) {
        output::warning(format_args!(
            "the directory that was at {} could not be removed and is {} now: {}",
            path.display(),
            aside.display(),
            os_error(&error)
        ));
    }
    Ok(())
}
