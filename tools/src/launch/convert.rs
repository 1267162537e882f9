//! Images that have to be converted before a program can be started in them.

use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use skiff_fs::image::Image;
use skiff_launcher::process::errand;
use skiff_launcher::request::{ImageRequest, RootKind};

use super::image::{Found, check_arch};
use crate::cli::Context;
use crate::cli::build::PlatformArgs;
use crate::cli::remote::RemoteArgs;
use crate::convert::{Converted, OciSource, Options, Source, Spec, converted};
use crate::output;
use crate::remote::own_cache;
use crate::settings;
use crate::wire::Served;

/// The image of `spec`, converted if that was not done before. What takes threads is done by a child:
/// the calling process keeps its one.
///
/// # Errors
/// Why there is no such image.
pub(super) fn find(
    spec: &Spec,
    source: &OciSource,
    args: &RemoteArgs,
    context: &Context,
) -> anyhow::Result<Found> {
    settings::adopt()?;
    let none = PlatformArgs::default();
    let options = Options::new(args, &none, ("", ""), context)?.for_source(&spec.source);
    let handle = || format!("Unable to handle {} uri", spec.name());
    let (path, file) = open(spec, source, &options).with_context(handle)?;
    let image = Image::from_file(file, &path).with_context(handle)?;
    image.check_mountable().with_context(handle)?;
    check_arch(&image)
        .map_err(anyhow::Error::msg)
        .with_context(handle)?;
    Ok(Found {
        request: ImageRequest {
            name: path.file_name().unwrap_or(path.as_os_str()).to_owned(),
            path,
            kind: RootKind::Mounted,
        },
        served: Some(Served::Here(Box::new(image))),
    })
}

fn open(spec: &Spec, source: &OciSource, options: &Options) -> anyhow::Result<(PathBuf, File)> {
    if let Some(found) = Converted::recent(source, options) {
        output::info("Using cached SIF image");
        return Ok((found.path, found.file));
    }
    let Some(cache) = own_cache().filter(|_| !options.uncached) else {
        let file = converted::nameless()?;
        let copy = file.try_clone()?;
        errand::send_out(|| {
            converted::temporary(spec, source, options, copy)
                .map(|()| Vec::new())
                .map_err(|error| format!("{error:#}"))
        })?;
        return Ok((PathBuf::from(spec.name()), file));
    };
    let answer = errand::send_out(|| {
        Converted::provide(spec, source, options, converted::Kind::Whole, &cache)
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .map_err(|error| format!("{error:#}"))
    })?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(answer));
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    Ok((path, file))
}

/// The specification behind a name whose image has to be converted.
///
/// # Errors
/// A name that cannot be one.
pub fn wanted(name: &std::ffi::OsStr) -> anyhow::Result<Option<(Spec, OciSource)>> {
    match Spec::parse(name)? {
        Some(
            spec @ Spec {
                source: Source::Oci(_),
                ..
            },
        ) => {
            let Source::Oci(source) = spec.source.clone() else {
                return Ok(None);
            };
            Ok(Some((spec, source)))
        }
        _ => Ok(None),
    }
}

/// As [`find`], in this process, which gets threads: the file of the converted image.
///
/// # Errors
/// As [`find`].
pub fn image_here(
    spec: &Spec,
    source: &OciSource,
    args: &RemoteArgs,
    context: &Context,
) -> anyhow::Result<Image> {
    let none = PlatformArgs::default();
    let options = Options::new(args, &none, ("", ""), context)?.for_source(&spec.source);
    let (path, file) = match own_cache().filter(|_| !options.uncached) {
        Some(cache) => {
            let kind = converted::Kind::Whole;
            let path = Converted::provide(spec, source, &options, kind, &cache)?;
            let file = File::open(&path)?;
            (path, file)
        }
        None => {
            let file = converted::nameless()?;
            converted::temporary(spec, source, &options, file.try_clone()?)?;
            (Path::new(&spec.name()).to_owned(), file)
        }
    };
    Ok(Image::from_file(file, &path)?)
}
