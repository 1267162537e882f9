//! Images that are names: a SIF without a root file system that says where the image is, and which one
//! for ever. Whoever starts a program in it starts it in that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use skiff_fs::format::sif::{DataType, Extra, NewObject, Sif, Writer, WriterOptions};
use skiff_fs::image::Image;
use skiff_fs::pack::{Replace, Target};
use skiff_fs::remote::{Client, Location, OrasReference, Reference};

use super::options::Options;
use super::source::{OciSource, Source, Spec};
use super::watch::Watch;

/// The object that says it.
const OBJECT: &str = "skiff-reference.json";
/// The longest that is read.
const MAX_BYTES: u64 = 64 << 10;
/// Permissions of the file, before the umask.
const MODE: u32 = 0o777;

#[derive(Serialize, Deserialize)]
struct Content {
    /// The image, by a digest.
    reference: String,
    /// As the user named it.
    name: String,
    /// More that later versions say.
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

/// Writes a file that names the image of `spec` as it is now.
///
/// # Errors
/// Why there is none, or that it cannot be told by a digest.
pub(super) fn write(
    spec: &Spec,
    options: &Options,
    target: &Path,
    replace: Replace,
    watch: &Watch,
) -> anyhow::Result<()> {
    let client = Client::new(options.remote.clone(), watch.observer())?;
    let reference = match &spec.source {
        Source::Oci(OciSource::Docker(docker)) => {
            docker.pinned_to(&client.image_digest(docker)?).to_string()
        }
        Source::Remote(reference @ Reference::Oras(oras)) => {
            pinned(oras, &client.resolve(reference)?.0.location)?
        }
        _ => bail!(
            "--lazy: only images in registries (docker://, oras://) have a digest that names them for \
             ever"
        ),
    };
    let content = Content {
        reference,
        name: spec.name(),
        more: BTreeMap::new(),
    };
    let place = Target::create(target, MODE)?;
    let mut writer = Writer::new(
        place.file().try_clone()?,
        WriterOptions::made_at(crate::dot_singularity::BuildDate::new(None).0)?,
    );
    let object = NewObject {
        data_type: DataType::GenericJson,
        name: OBJECT,
        extra: Extra::None,
    };
    writer.add(object, &mut serde_json::to_vec(&content)?.as_slice())?;
    writer.finish()?;
    place
        .commit(replace)
        .with_context(|| format!("writing {}", target.display()))
}

fn pinned(oras: &OrasReference, location: &Location) -> anyhow::Result<String> {
    match location {
        Location::Registry { manifest, .. } => Ok(format!(
            "oras://{}/{}@{manifest}",
            oras.registry(),
            oras.repository()
        )),
        Location::Http { .. } => bail!("the registry does not say which image it is"),
    }
}

/// The name of the image that `image` stands for, if it is such a file.
///
/// # Errors
/// A file that says nothing of use.
pub fn reference(image: &Image) -> anyhow::Result<Option<OsString>> {
    let Some(sif) = image.sif().filter(|sif| sif.primary().is_none()) else {
        return Ok(None);
    };
    let Some(bytes) = object(image, sif)? else {
        return Ok(None);
    };
    let content: Content = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: {OBJECT}", image.path().display()))?;
    let is_known = ["docker://", "oras://"]
        .iter()
        .any(|scheme| content.reference.starts_with(scheme));
    if !is_known || !content.reference.contains('@') {
        bail!("{}: it names no image by a digest", image.path().display());
    }
    Ok(Some(content.reference.into()))
}

fn object(image: &Image, sif: &Sif) -> anyhow::Result<Option<Vec<u8>>> {
    let mut objects = sif.descriptors.iter();
    let found = objects
        .find(|object| object.data_type == DataType::GenericJson && object.name == OBJECT)
        .filter(|object| object.size <= MAX_BYTES);
    let Some(object) = found else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(object.size)?];
    let data = image.data_of(object)?;
    skiff_fs::source::Source::read_exact_at(&data, &mut bytes, 0)
        .with_context(|| format!("reading {}", image.path().display()))?;
    Ok(Some(bytes))
}
