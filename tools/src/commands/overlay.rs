//! `overlay`: images that changes are kept in.

mod ext3;
mod scratch;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use skiff_fs::format::sif::{DataType, Extra, FsType, Link, NewObject, PartitionType, Sif, edit};
use skiff_fs::image::{Image, ImageError, ImageKind};

use skiff_launcher::kernel;

use super::EMPTY;
use crate::cli::Context;
use crate::cli::value::{Strings, int_parser};
use crate::cli::verb::{Arity, Verb, call};
use crate::exit::ExitStatus;
use crate::text::{chain, os_error};
use scratch::Ends;

/// Smallest overlay, as in Apptainer.
const MIN_MIB: i64 = 64;

/// Bytes of a SIF that whoever adds to it locks: its header, which no launch does.
const HEADER: u64 = 128;

/// The verbs below `overlay`.
pub const VERBS: &[Verb] = &[Verb {
    name: "create",
    about: "Create EXT3 writable overlay image",
    usage: "<options> image",
    description: "\
The overlay create command allows creating EXT3 writable overlay image either
as a single EXT3 image or by adding it automatically to an existing SIF image.",
    examples: &[
        "overlay create --size 1024 /tmp/image.sif",
        "overlay create --size 1024 /tmp/my_overlay.img",
        "overlay create --size 1024 --sparse /tmp/ext3_overlay.img",
        "overlay create --fakeroot --size 1024 /tmp/my_overlay.img",
    ],
    arity: Arity::Exactly(1),
    augment: CreateArgs::augment_args,
    run: |matches, context| call(matches, context, create),
    ..EMPTY
}];

/// `overlay create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// directory to create as part of the overlay layout
    #[arg(long, value_name = "strings")]
    pub create_dir: Vec<Strings>,
    /// make overlay layout usable by actions run with --fakeroot
    #[arg(long, short)]
    pub fakeroot: bool,
    /// size of the EXT3 writable overlay in MiB
    #[arg(long, short, value_name = "int", default_value = "64", value_parser = int_parser())]
    pub size: i64,
    /// create a sparse overlay
    #[arg(long, short = 'S')]
    pub sparse: bool,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// Makes an overlay image, or adds one to a SIF.
///
/// # Errors
/// One line about what is in the way; nothing half-made is left behind.
pub fn create(args: &CreateArgs, _: &Context) -> anyhow::Result<ExitStatus> {
    let path = PathBuf::from(args.words.first().cloned().unwrap_or_default());
    if args.size < MIN_MIB {
        anyhow::bail!("image size must be equal or greater than {MIN_MIB} MiB");
    }
    let size = u64::try_from(args.size)
        .ok()
        .and_then(|mib| mib.checked_mul(1 << 20))
        .context("the image size is too large")?;
    let wish = ext3::Wish {
        size,
        sparse: args.sparse,
        fakeroot: args.fakeroot,
        directories: Strings::flatten(&args.create_dir)
            .map(PathBuf::from)
            .collect(),
    };
    let ends = Ends::watch().context("while taking signals")?;
    match std::fs::symlink_metadata(&path) {
        Ok(_) => add_to_sif(&path, wish, &ends)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = ext3::make(&wish, &beside(&path)?, &ends)?;
            made.keep_as(&path)
                .with_context(|| format!("while creating overlay image {}", path.display()))?;
        }
        Err(error) => anyhow::bail!("while looking at {}: {}", path.display(), os_error(&error)),
    }
    Ok(ExitStatus::Success)
}

/// The directory that `path` is, or is to be, in.
fn beside(path: &Path) -> anyhow::Result<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => anyhow::bail!("{} is a directory", path.display()),
    };
    parent
        .metadata()
        .map(|_| parent.to_owned())
        .map_err(|error| {
            anyhow::anyhow!(
                "while creating overlay image {}: {}: {}",
                path.display(),
                parent.display(),
                os_error(&error)
            )
        })
}

fn add_to_sif(path: &Path, wish: ext3::Wish, ends: &Ends) -> anyhow::Result<()> {
    let shown = path.display();
    let failed =
        |error: std::io::Error| anyhow::anyhow!("while opening {shown}: {}", os_error(&error));
    // What cannot be done at all is said at once.
    refuse(
        path,
        sif_in(
            path,
            &Image::open(path).map_err(|error| unopened(path, &error))?,
        )?,
    )?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let wish = ext3::Wish {
        // Holes stay holes in the SIF.
        sparse: true,
        ..wish
    };
    let target = std::fs::canonicalize(path).map_err(failed)?;
    let mut place = beside(&target)?;
    if rustix::fs::access(&place, rustix::fs::Access::WRITE_OK).is_err() {
        // The SIF may be changed, and nothing made beside it.
        place = std::env::temp_dir();
    }
    let made = ext3::make(&wish, &place, ends)?;
    // Others may have changed it while the file system was made.
    lock(path, &file)?;
    let copy = file.try_clone().map_err(failed)?;
    let image = Image::from_file(copy, path).map_err(|error| unopened(path, &error))?;
    let sif = sif_in(path, &image)?;
    refuse(path, sif)?;
    append(&file, sif, &made, wish.size)
        .map_err(|error| anyhow::anyhow!("while adding to {shown}: {}", os_error(&error)))
}

fn unopened(path: &Path, error: &ImageError) -> anyhow::Error {
    let reason = match error {
        ImageError::Open { source, .. } | ImageError::Read { source, .. } => os_error(source),
        other => chain(other),
    };
    anyhow::anyhow!("while opening image file {}: {reason}", path.display())
}

fn sif_in<'a>(path: &Path, image: &'a Image) -> anyhow::Result<&'a Sif> {
    match image.kind() {
        ImageKind::Sif(sif) => Ok(sif),
        ImageKind::Ext3 { .. } => {
            anyhow::bail!("EXT3 overlay image {} already exists", path.display())
        }
        ImageKind::Sandbox | ImageKind::Squashfs { .. } => {
            anyhow::bail!("destination image must be SIF image")
        }
    }
}

/// Locks `file`, opened at `path`, against others who add to it, with the kind of lock that launches
/// take on the overlay behind; a place without locks goes without.
fn lock(path: &Path, file: &File) -> anyhow::Result<()> {
    let shown = path.display();
    if matches!(kernel::lock_range(file.as_fd(), true, 0, HEADER), Ok(false)) {
        anyhow::bail!("SIF image {shown} is being changed by another command: try again later");
    }
    let is_same = file.metadata().is_ok_and(|own| {
        std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino()))
    });
    if !is_same {
        anyhow::bail!("SIF image {shown} was replaced meanwhile: try again");
    }
    Ok(())
}

/// Refuses SIFs that cannot have an overlay, or have one.
fn refuse(path: &Path, sif: &Sif) -> anyhow::Result<()> {
    let shown = path.display();
    let any = |data_type| {
        sif.descriptors
            .iter()
            .any(|descriptor| descriptor.data_type == data_type)
    };
    if any(DataType::Signature) {
        anyhow::bail!("SIF image {shown} is signed: could not add writable overlay");
    }
    for descriptor in &sif.descriptors {
        let Extra::Partition { fs, kind, .. } = descriptor.extra else {
            continue;
        };
        if matches!(fs, FsType::EncryptedSquashfs | FsType::GocryptfsSquashfs) {
            anyhow::bail!("SIF image {shown} is encrypted: could not add writable overlay");
        }
        if kind == PartitionType::Overlay && fs == FsType::Ext3 {
            let id = descriptor.id;
            anyhow::bail!(
                "a writable overlay partition already exists in {shown} (ID: {id}), delete it \
                 first with \"apptainer sif del {id} {shown}\""
            );
        }
    }
    Ok(())
}

fn append(file: &File, sif: &Sif, made: &ext3::Made, size: u64) -> std::io::Result<()> {
    let before = file.metadata()?.len();
    let place = edit::place(sif, DataType::Partition)?;
    let arch = sif
        .primary()
        .and_then(|primary| match primary.extra {
            Extra::Partition { arch, .. } => Some(arch),
            _ => None,
        })
        .unwrap_or_else(skiff_fs::format::sif::Arch::host);
    let object = NewObject {
        data_type: DataType::Partition,
        name: "",
        extra: Extra::Partition {
            fs: FsType::Ext3,
            kind: PartitionType::Overlay,
            arch,
        },
    };
    let ties = edit::Ties {
        group: sif.primary().and_then(|primary| primary.group).or(Some(1)),
        link: Link::None,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0));
    let done = made
        .copy_to(file, place.offset)
        .and_then(|()| edit::enter(file, sif, place, object, size, ties, time));
    if done.is_err() {
        // What was there is there; what was added is not looked at by anybody.
        let _as_it_is = file.set_len(before);
    }
    done
}

/// Who may read a new overlay: its owner.
fn private() -> std::fs::Permissions {
    PermissionsExt::from_mode(0o600)
}
