//! Index, manifest and configuration, read with care: what could be taken for either is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::OciError;
use super::platform::{Platform, Stated};
use crate::remote::Digest;

/// The largest document that is read.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Indexes may name indexes, but not without end.
const MAX_DEPTH: usize = 4;
const MAX_LAYERS: usize = 4096;

/// Names a blob.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Stated>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde_json::Value>,
}

/// What a document turned out to be.
#[derive(Debug)]
pub(super) enum Kind {
    Index(Vec<Descriptor>),
    Manifest {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

/// An image: which, and of what it is made.
#[derive(Clone, Debug)]
pub struct OciImage {
    /// Its name, for messages.
    pub name: String,
    /// Digest of its manifest; where there is none, of what stands for it.
    pub digest: Digest,
    /// Its configuration, byte for byte.
    pub raw_config: Vec<u8>,
    /// What matters of that.
    pub config: OciConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<OciLayer>,
}

/// A layer: a tar archive, packed or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OciLayer {
    /// What packs it.
    pub media_type: String,
    /// Digest of its bytes as they are stored, if somebody vouches for one.
    pub digest: Option<Digest>,
    /// How many bytes are stored.
    pub size: u64,
    /// Digest of the archive.
    pub diff_id: Option<Digest>,
    /// Where it is, if its digest does not say so.
    pub path: Option<String>,
}

/// An image's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OciConfig {
    /// By Go's names.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// Of the architecture.
    #[serde(deserialize_with = "or_default")]
    pub variant: String,
    /// `linux`.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// When it was made.
    #[serde(deserialize_with = "or_default")]
    pub created: String,
    /// What is run and how.
    #[serde(deserialize_with = "or_default")]
    pub config: Config,
    #[serde(deserialize_with = "or_default")]
    rootfs: RootFs,
}

/// What is run in a container, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// `NAME=value` each.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Words in front.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Words behind, unless the user gives others.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

/// `null` where a value may be missing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl OciConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, OciError> {
        serde_json::from_slice(bytes)
            .map_err(|error| OciError::unusable(name, format!("its configuration: {error}")))
    }

    /// Digests of the layers' archives, the lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }
}

/// Reads a manifest or index; `header` is the type that came with it.
pub(super) fn parse(name: &str, bytes: &[u8], header: Option<&str>) -> Result<Kind, OciError> {
    let wrong = |reason: String| OciError::unusable(name, reason);
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("no manifest: {error}")))?;
    if document.schema_version == Some(1) || document.fs_layers.is_some() {
        return Err(wrong(
            "its manifest is of docker's schema 1, which is not supported: push the image again with \
             a tool of this decade"
                .to_owned(),
        ));
    }
    // One text that can be read as either kind is how images are smuggled past checks.
    let types = [header.unwrap_or_default(), &*document.media_type];
    let says = |known: [&str; 2]| types.iter().any(|text| known.contains(text));
    let is_index = document.manifests.is_some();
    let is_manifest = document.layers.is_some() || document.config.is_some();
    let contradicts = (is_index && says([OCI_MANIFEST, DOCKER_MANIFEST]))
        || (is_manifest && says([OCI_INDEX, DOCKER_INDEX]));
    match document {
        _ if contradicts || (is_index && is_manifest) => Err(wrong(
            "the manifest is not of the kind that it says it is".to_owned(),
        )),
        Document {
            manifests: Some(manifests),
            ..
        } => Ok(Kind::Index(manifests)),
        Document {
            config: Some(config),
            layers: Some(layers),
            ..
        } => Ok(Kind::Manifest { config, layers }),
        _ => Err(wrong("neither a manifest nor an index".to_owned())),
    }
}

/// The image of an index that fits best.
pub(super) fn choose<'a>(
    name: &str,
    manifests: &'a [Descriptor],
    platform: &Platform,
) -> Result<&'a Descriptor, OciError> {
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let rank = |it: &&Descriptor| it.platform.as_ref().and_then(|it| platform.rank(it));
    let best = manifests
        .iter()
        .filter(|it| rank(it).is_some())
        .min_by_key(rank);
    best.ok_or_else(|| {
        let found: Vec<String> = manifests
            .iter()
            .filter_map(|it| it.platform.as_ref())
            .filter(|it| it.os != "unknown")
            .map(ToString::to_string)
            .take(20)
            .collect();
        OciError::Platform {
            name: name.to_owned(),
            wanted: platform.clone(),
            found: if found.is_empty() {
                "none that say what they are for".to_owned()
            } else {
                found.join(", ")
            },
        }
    })
}

/// Digest and bytes of the uppermost document, and the type that came with it.
pub(super) type Top = (Digest, Vec<u8>, Option<String>);

/// Hands out a document.
pub(super) type Fetch<'a> = &'a dyn Fn(&Descriptor, bool) -> Result<Vec<u8>, OciError>;

/// The image behind a manifest or index, whose documents `fetch` hands out: compared with their
/// digests; `true` for manifests, `false` for configurations.
pub(super) fn image(
    name: &str,
    top: Top,
    platform: &Platform,
    fetch: Fetch<'_>,
) -> Result<OciImage, OciError> {
    let (mut digest, mut bytes, mut header) = top;
    for _ in 0..MAX_DEPTH {
        match parse(name, &bytes, header.as_deref())? {
            Kind::Index(manifests) => {
                let chosen = choose(name, &manifests, platform)?;
                bytes = fetch(chosen, true)?;
                digest = chosen.digest.clone();
                header = Some(chosen.media_type.clone());
            }
            Kind::Manifest { config, layers } => {
                let raw_config = fetch(&config, false)?;
                return of_manifest(name, digest, &config, raw_config, layers);
            }
        }
    }
    Err(OciError::unusable(name, "indexes within indexes"))
}

fn of_manifest(
    name: &str,
    digest: Digest,
    descriptor: &Descriptor,
    raw_config: Vec<u8>,
    layers: Vec<Descriptor>,
) -> Result<OciImage, OciError> {
    let wrong = |reason: String| OciError::unusable(name, reason);
    if let Some(other) = layers.iter().find(|layer| !is_archive(&layer.media_type)) {
        let kind = &other.media_type;
        let hint = if kind.contains("sif") {
            "; it is a SIF: use oras://"
        } else {
            ""
        };
        return Err(wrong(format!(
            "no image: a layer is of type {kind:?}{hint}"
        )));
    }
    if layers.len() > MAX_LAYERS {
        return Err(wrong(format!("more than {MAX_LAYERS} layers")));
    }
    if descriptor.size != raw_config.len() as u64 {
        return Err(wrong(
            "its configuration is not as long as promised".to_owned(),
        ));
    }
    let config = OciConfig::parse(name, &raw_config)?;
    if config.rootfs.diff_ids.len() != layers.len() {
        return Err(wrong(format!(
            "its configuration has {} layers, its manifest {}",
            config.rootfs.diff_ids.len(),
            layers.len()
        )));
    }
    let layers = layers
        .into_iter()
        .zip(&config.rootfs.diff_ids)
        .map(|(layer, diff_id)| OciLayer {
            media_type: layer.media_type,
            digest: Some(layer.digest),
            size: layer.size,
            diff_id: Some(diff_id.clone()),
            path: None,
        })
        .collect();
    Ok(OciImage {
        name: name.to_owned(),
        digest,
        raw_config,
        config,
        layers,
    })
}

/// Whether a layer of this type is a tar archive, packed in whatever way.
fn is_archive(media_type: &str) -> bool {
    const ARCHIVES: [&str; 4] = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    ARCHIVES.iter().any(|known| {
        media_type.strip_prefix(known).is_some_and(|rest| {
            matches!(
                rest,
                "" | "+gzip" | ".gzip" | "+zstd" | ".zstd" | "+xz" | "+bzip2"
            )
        })
    })
}
