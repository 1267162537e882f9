//! An OCI image becomes the parts of one of ours.

use anyhow::Context as _;
use skiff_fs::format::oci::{OciImage, OciLayer, Store};
use skiff_fs::format::sif::Arch;
use skiff_fs::layers::{Expected, Layer, Limits, TarLayer, inflate};

use super::assemble::{Manner, Parts};
use super::finish;
use super::options::Options;
use super::source::{OciSource, Spec};
use super::watch::Watch;
use crate::dot_singularity::ImageConfig;
use crate::output;

/// An image that was found, and where its layers are.
pub(super) struct Found {
    pub(super) store: Box<dyn Store>,
    pub(super) image: OciImage,
}

/// Looks for the image of `source`.
///
/// # Errors
/// Why there is none.
pub(super) fn find(source: &OciSource, options: &Options, watch: &Watch) -> anyhow::Result<Found> {
    let store = source.open(&options.remote, &watch.observer())?;
    let image = store.image(&options.platform)?;
    let (wanted, found) = (&options.platform.architecture, &image.config.architecture);
    if !found.is_empty() && wanted != found {
        watch.warning(&format!(
            "Architecture {found} does not match build arch {wanted}"
        ));
    }
    Ok(Found { store, image })
}

/// All of an image of ours.
///
/// # Errors
/// Layers that cannot be opened.
pub(super) fn parts(
    found: &Found,
    spec: &Spec,
    manner: &Manner,
    watch: &Watch,
) -> anyhow::Result<Parts> {
    let config = image_config(&found.image);
    let arch = arch_of(&found.image);
    let around = finish::oci(&config, spec, manner, arch)?;
    watch.info("Extracting OCI image...");
    let mut layers = vec![around.top];
    layers.extend(self::layers(found, watch)?);
    layers.push(around.bottom);
    watch.info("Inserting Apptainer configuration...");
    let mut json = around.json;
    json.insert("oci-config.json".to_owned(), object(&found.image)?);
    Ok(Parts {
        layers,
        definition: around.definition,
        json,
        arch: Some(arch),
    })
}

/// The layers alone, as the base of something else.
///
/// # Errors
/// As [`parts`].
pub(super) fn raw_parts(found: &Found, watch: &Watch) -> anyhow::Result<Parts> {
    Ok(Parts {
        layers: layers(found, watch)?,
        definition: Vec::new(),
        json: [("oci-config.json".to_owned(), object(&found.image)?)].into(),
        arch: Some(arch_of(&found.image)),
    })
}

/// The image's layers, the uppermost first, as they are going to be read.
fn layers(found: &Found, watch: &Watch) -> anyhow::Result<Vec<Box<dyn Layer>>> {
    let wanted: Vec<&OciLayer> = found.image.layers.iter().rev().collect();
    let names: Vec<(String, u64)> = wanted
        .iter()
        .map(|layer| (name(layer), layer.size))
        .collect();
    let readers = found.store.open(&wanted, watch.layers(&names))?;
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for ((layer, (name, _)), reader) in wanted.iter().zip(&names).zip(readers) {
        output::verbose(format_args!("Layer {name}: {} bytes", layer.size));
        let expected = Expected {
            digest: layer.digest.clone(),
            size: Some(layer.size),
            diff_id: layer.diff_id.clone(),
        };
        layers.push(Box::new(LazyLayer {
            name: format!("layer {name}"),
            start: Some((reader, expected)),
        }));
    }
    Ok(layers)
}

fn name(layer: &OciLayer) -> String {
    match (&layer.digest, &layer.path, &layer.diff_id) {
        (Some(digest), ..) => digest.to_string(),
        (None, Some(path), _) => path.clone(),
        (None, None, diff_id) => diff_id
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}

/// A layer that is unpacked when its turn has come: each takes threads and memory.
struct LazyLayer {
    name: String,
    start: Option<(Box<dyn std::io::Read + Send>, Expected)>,
}

impl Layer for LazyLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn visit(
        &mut self,
        visit: &mut skiff_fs::layers::Visit<'_>,
    ) -> Result<(), skiff_fs::layers::LayerError> {
        let Some((reader, expected)) = self.start.take() else {
            return Ok(());
        };
        let limits = Limits::default();
        let reader = inflate(reader, expected, limits).map_err(|source| {
            skiff_fs::layers::LayerError::Read {
                layer: self.name.clone(),
                source,
            }
        })?;
        TarLayer::new(self.name.clone(), reader, limits).visit(visit)
    }
}

fn image_config(image: &OciImage) -> ImageConfig {
    let config = &image.config.config;
    ImageConfig {
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        labels: config.labels.clone(),
    }
}

/// The `config` object of the image's configuration, as a SIF carries it.
fn object(image: &OciImage) -> anyhow::Result<Vec<u8>> {
    let whole: serde_json::Value =
        serde_json::from_slice(&image.raw_config).context("the image's configuration")?;
    let config = whole
        .get("config")
        .cloned()
        .filter(|config| !config.is_null())
        .unwrap_or_else(|| serde_json::json!({}));
    Ok(serde_json::to_vec(&config)?)
}

/// What an image says that it runs on; this machine if it says nothing.
fn arch_of(image: &OciImage) -> Arch {
    arch_named(&image.config.architecture)
}

/// The machine by Go's name.
pub(super) fn arch_named(name: &str) -> Arch {
    let all = [
        Arch::I386,
        Arch::Amd64,
        Arch::Arm,
        Arch::Arm64,
        Arch::Ppc64,
        Arch::Ppc64le,
        Arch::Mips,
        Arch::Mipsle,
        Arch::Mips64,
        Arch::Mips64le,
        Arch::S390x,
        Arch::Riscv64,
        Arch::Loong64,
    ];
    all.into_iter()
        .find(|arch| arch.to_string() == name)
        .unwrap_or_else(Arch::host)
}
