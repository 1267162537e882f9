//! What a definition file starts from: an image whose files stay as they are.

use std::path::PathBuf;

use anyhow::Context as _;
use skiff_fs::format::oci::OciConfig;
use skiff_fs::image::{Image, ImageKind};
use skiff_fs::pack::{Replace, Target};
use skiff_fs::remote::Client;
use skiff_fs::temporary;

use super::assemble::{self, Manner};
use super::converted::{self, Converted, Kind};
use super::fetch;
use super::oci;
use super::options::Options;
use super::source::{OciSource, Source, Spec};
use super::watch::Watch;
use crate::dot_singularity::ImageConfig;
use crate::remote::own_cache;

/// What is built upon.
#[derive(Debug)]
pub struct Base {
    /// Its files.
    pub root: Root,
    /// What an OCI image says is to be run; its root then has no files of ours.
    pub oci: Option<ImageConfig>,
    /// The `config` object of an OCI image, for the SIF.
    pub oci_config: Option<Vec<u8>>,
}

/// Files that are built upon.
#[derive(Debug)]
pub enum Root {
    /// An image file.
    Image(Box<Image>),
    /// A directory.
    Directory(PathBuf),
}

/// What `spec` names, as the base of something else: an OCI image by its layers alone, kept in the
/// node's cache; a SIF that is elsewhere likewise. The process gets threads if it is elsewhere.
///
/// # Errors
/// Why there is none.
pub fn base(spec: &Spec, options: &Options) -> anyhow::Result<Base> {
    let image = match &spec.source {
        Source::Local(path) => {
            let image = Image::open(path)?;
            if matches!(image.kind(), ImageKind::Sandbox) {
                return Ok(Base {
                    root: Root::Directory(path.clone()),
                    oci: None,
                    oci_config: None,
                });
            }
            image
        }
        Source::Oci(source) => return of_oci(spec, source, options),
        Source::Remote(reference) => {
            let watch = Watch::new();
            let client = Client::new(options.remote.clone(), watch.observer())?;
            let (resolved, _) = client.resolve(reference)?;
            let cache = own_cache().filter(|_| !options.uncached);
            let Some(cache) = cache else {
                let file = fetch::temporary(reference, options, &watch)?;
                return Ok(Base::of(Image::from_file(file, reference.name().as_ref())?));
            };
            let digest = skiff_fs::remote::Digest::of(resolved.key.as_bytes());
            let key = converted::key(&digest, &options.platform, Kind::Raw);
            let _lock = converted::lock(&cache, &key);
            match Converted::find(&cache, &key) {
                Some(found) => Image::from_file(found.file, &found.path)?,
                None => {
                    let path = converted::place(&cache, &key)?;
                    let target = Target::create(&path, 0o600)?;
                    fetch::into(&client, &resolved, target.file(), &watch)?;
                    target.commit(Replace::Yes)?;
                    converted::sweep(&cache, Some(&path));
                    Image::open(&path)?
                }
            }
        }
    };
    Ok(Base::of(image))
}

impl Base {
    fn of(image: Image) -> Self {
        Self {
            root: Root::Image(Box::new(image)),
            oci: None,
            oci_config: None,
        }
    }
}

fn of_oci(spec: &Spec, source: &OciSource, options: &Options) -> anyhow::Result<Base> {
    let image = match own_cache().filter(|_| !options.uncached) {
        Some(cache) => {
            let path = Converted::provide(spec, source, options, Kind::Raw, &cache)?;
            Image::open(&path)?
        }
        None => {
            let watch = Watch::new();
            let manner = Manner::for_base()?;
            let file = tempfile::tempfile_in(temporary::directory())?;
            let found = oci::find(source, options, &watch)?;
            let parts = oci::raw_parts(&found, &watch)?;
            assemble::sif_in(parts, file.try_clone()?, &manner, &watch)?;
            Image::from_file(file, spec.name().as_ref())?
        }
    };
    let object = super::local::oci_config(&image)?.context("the converted image has no config")?;
    // A SIF carries the inner object of the configuration.
    let whole = format!(
        "{{\"config\":{}}}",
        std::str::from_utf8(&object).context("the image's configuration")?
    );
    let config = OciConfig::parse(&spec.name(), whole.as_bytes())?.config;
    Ok(Base {
        root: Root::Image(Box::new(image)),
        oci: Some(ImageConfig {
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            labels: config.labels,
        }),
        oci_config: Some(object),
    })
}
