//! Metadata of an image by its name.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use skiff_fs::format::sif::{DataType, Descriptor, Sif};
use skiff_fs::format::squashfs::SquashfsOptions;
use skiff_fs::image::Image;
use skiff_fs::remote::Observer;
use skiff_fs::source::Source as _;

use super::files::{MAX_FILE_BYTES, TreeFiles};
use super::gather::gather;
use super::sandbox::SandboxFiles;
use super::{Metadata, Selection, json};
use crate::cli::Context;
use crate::cli::remote::RemoteArgs;
use crate::convert::lazy;
use crate::launch::convert;
use crate::launch::image::{check_arch, open, resolve};
use crate::output;
use crate::remote::{self, progress::Progress};
use crate::text::go_path;

/// Name of the object that holds the metadata of a SIF.
const OBJECT: &str = "inspect-metadata.json";

/// Reads what is selected of the image called `name`.
///
/// # Errors
/// When it cannot be opened or read.
pub fn of_image(
    name: &OsStr,
    selection: &Selection,
    remote: &RemoteArgs,
    context: &Context,
) -> anyhow::Result<Metadata> {
    if let Some(reference) = remote::reference(name)? {
        let options = remote.options(&reference, context)?;
        let found = remote::locate_to_inspect(&reference, &options, remote.disable_cache)?;
        let observer: Arc<dyn Observer> = Progress::start(found.name());
        let opened = found.open(&observer)?;
        let metadata = of_opened(&opened.image, selection)?;
        remote::tell_state(&opened);
        return Ok(metadata);
    }
    if let Some((spec, source)) = convert::wanted(name)? {
        let image = convert::image_here(&spec, &source, remote, context)?;
        return of_opened(&image, selection);
    }
    let absolute = go_path(Path::new(name))?;
    // Apptainer repeats a name with a scheme as it was given.
    let shown = if name.to_string_lossy().contains("://") {
        Path::new(name)
    } else {
        &absolute
    };
    let failed = |reason: String| {
        let reason = reason.replacen(&*absolute.to_string_lossy(), &shown.to_string_lossy(), 1);
        anyhow::anyhow!("Failed to open image {}: {reason}", shown.display())
    };
    let path = resolve(&absolute).map_err(failed)?;
    let Some(image) = open(&path).map_err(failed)? else {
        return gather(&SandboxFiles::open(&path)?, selection);
    };
    if let Some(name) = lazy::reference(&image)? {
        return of_image(&name, selection, remote, context);
    }
    check_arch(&image).map_err(failed)?;
    of_opened(&image, selection)
}

fn of_opened(image: &Image, selection: &Selection) -> anyhow::Result<Metadata> {
    if let Some(sif) = image.sif()
        && let Some(metadata) = from_object(image, sif)
    {
        return Ok(metadata.select(selection));
    }
    let tree = image.tree(&SquashfsOptions::default()).map_err(|error| {
        anyhow::Error::new(error).context(format!("could not inspect {}", image.path().display()))
    })?;
    let mut found = gather(&TreeFiles(&*tree), selection)?;
    if (selection.parts.deffile || selection.all)
        && let Some(definition) = image.sif().and_then(|sif| definition(image, sif))
    {
        found.deffile = definition;
    }
    Ok(found)
}

/// What the object of a SIF says. One that cannot be read is remarked upon and done without.
fn from_object(image: &Image, sif: &Sif) -> Option<Metadata> {
    let object = sif.json(OBJECT)?;
    let found = content(image, object)
        .and_then(|bytes| json::parse(&bytes).map_err(|error| error.to_string()));
    match found {
        Ok(metadata) => Some(metadata),
        Err(error) => {
            output::warning(format_args!(
                "Unable to read {OBJECT} SIF descriptor: while decoding inspect metadata: {error}"
            ));
            None
        }
    }
}

/// The definition file that a SIF carries besides.
fn definition(image: &Image, sif: &Sif) -> Option<String> {
    let object = sif
        .descriptors
        .iter()
        .find(|object| object.data_type == DataType::Definition)?;
    let bytes = content(image, object).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn content(image: &Image, object: &Descriptor) -> Result<Vec<u8>, String> {
    let size = usize::try_from(object.size).unwrap_or(usize::MAX);
    if size > MAX_FILE_BYTES {
        return Err(format!("{size} bytes are too many"));
    }
    let mut bytes = vec![0; size];
    let data = image.data_of(object).map_err(|error| error.to_string())?;
    data.read_exact_at(&mut bytes, 0)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}
