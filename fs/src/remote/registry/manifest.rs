//! Manifests: fetched, held to their digest, and searched for the one layer that is a SIF.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::client::Client;
use super::super::digest::Digest;
use super::super::error::RemoteError;
use super::super::exchange::judge;
use super::super::failure::Failure;
use super::super::reference::{OrasReference, Version};
use super::super::resolved::{Location, Resolved};
use super::super::roads::Roads;
use super::Place;
use super::image::{RawManifest, accepted, media_type};

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// The layer types of a SIF: today's, and the one of the first years, as it was spelt.
const SIF_LAYERS: [&str; 2] = [
    "application/vnd.sylabs.sif.layer.v1.sif",
    "appliciation/vnd.sylabs.sif.layer.tar",
];
/// What the specification lets registries refuse above.
pub(in super::super) const MAX_MANIFEST: usize = 4 << 20;

/// A manifest or an index, as far as matters; which of the two it is, is checked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Manifest {
    media_type: Option<String>,
    config: Option<serde_json::Value>,
    #[serde(default)]
    pub(in super::super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(in super::super) manifests: Vec<Descriptor>,
    /// What an artifact is about.
    pub(in super::super) subject: Option<Descriptor>,
}

/// Names a blob or a manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Descriptor {
    #[serde(default)]
    pub(in super::super) media_type: String,
    pub(in super::super) digest: Digest,
    pub(in super::super) size: u64,
    pub(in super::super) artifact_type: Option<String>,
    #[serde(default)]
    pub(in super::super) annotations: HashMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

/// A manifest whose bytes fit their digest.
#[derive(Debug)]
pub(in super::super) struct Fetched {
    pub(in super::super) manifest: Manifest,
    pub(in super::super) digest: Digest,
}

impl Client {
    /// Looks up a SIF in a registry.
    pub(in super::super) async fn resolve_oras(
        &self,
        oras: &OrasReference,
        within: Duration,
    ) -> Result<Resolved, RemoteError> {
        let name = oras.to_string();
        let place = Place {
            name: &name,
            registry: oras.registry(),
            repository: oras.repository(),
            pinned: matches!(oras.version(), Version::Digest(_)),
        };
        let mut fetched = self.manifest(place, oras.version(), within).await?;
        if fetched.manifest.is_index() {
            let chosen = fetched
                .manifest
                .choose()
                .ok_or_else(|| unusable(&name, "an index without a manifest"))?;
            fetched = self
                .manifest(place, &Version::Digest(chosen.digest.clone()), within)
                .await?;
            if fetched.manifest.is_index() {
                return Err(unusable(&name, "an index within an index"));
            }
        }
        let layer = fetched
            .manifest
            .sif()
            .map_err(|reason| unusable(&name, reason))?;
        Ok(Resolved {
            reference: name.clone(),
            // With the registry: until the whole has been compared with its digest, parts are only
            // what this registry says they are, and another one must not be answered for.
            key: format!("{} {}", layer.digest, oras.registry()),
            size: layer.size,
            digest: Some(layer.digest.to_string()),
            media_type: Some(layer.media_type.clone()),
            has_ranges: true,
            location: Location::Registry {
                registry: oras.registry().to_owned(),
                repository: oras.repository().to_owned(),
                pinned: place.pinned,
                digest: layer.digest.clone(),
                manifest: fetched.digest,
            },
        })
    }

    /// Fetches a manifest with all patience.
    pub(in super::super) async fn manifest(
        &self,
        place: Place<'_>,
        version: &Version,
        within: Duration,
    ) -> Result<Fetched, RemoteError> {
        let roads = self.registry_roads(place, &format!("manifests/{}", version.as_str()))?;
        let mut patience = self.patience(place.name, within);
        loop {
            match self
                .manifest_once(&roads, place.name, version, patience.stall())
                .await
            {
                Ok(fetched) => {
                    patience.progress();
                    return Ok(fetched);
                }
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    /// One attempt, on all roads.
    pub(in super::super) async fn manifest_once(
        &self,
        roads: &Roads,
        name: &str,
        version: &Version,
        wait: Duration,
    ) -> Result<Fetched, Failure> {
        let raw = self.raw_manifest_once(roads, name, version, wait).await?;
        let manifest = Manifest::parse(&raw.bytes, raw.media_type.as_deref())
            .map_err(|reason| unusable(name, &reason))?;
        let digest = raw.digest;
        Ok(Fetched { manifest, digest })
    }

    /// As [`Client::manifest_once`], whatever the text means.
    pub(super) async fn raw_manifest_once(
        &self,
        roads: &Roads,
        name: &str,
        version: &Version,
        wait: Duration,
    ) -> Result<RawManifest, Failure> {
        let headers = accepted();
        roads
            .first(self, async |_, road| {
                let reply = judge(self.get(road, &headers, wait).await?, name, wait).await?;
                let told = reply
                    .header("docker-content-digest")
                    .and_then(|text| text.trim().parse::<Digest>().ok());
                let media_type = media_type(&reply);
                let bytes = reply.body(MAX_MANIFEST, wait).await?;
                let wanted = match version {
                    Version::Digest(digest) => Some(digest),
                    Version::Tag(_) => None,
                };
                for digest in wanted.into_iter().chain(&told) {
                    if !digest.fits(&bytes) {
                        let (url, digest) = (name.to_owned(), digest.to_string());
                        return Err(Failure::Doubtful(RemoteError::Mismatch { url, digest }));
                    }
                }
                let digest = wanted.cloned().unwrap_or_else(|| Digest::of(&bytes));
                Ok(RawManifest {
                    bytes,
                    media_type,
                    digest,
                })
            })
            .await
    }
}

impl Manifest {
    /// Parses a body, of the type that its header says.
    pub(in super::super) fn parse(body: &[u8], header: Option<&str>) -> Result<Self, String> {
        let manifest: Self =
            serde_json::from_slice(body).map_err(|error| format!("no manifest: {error}"))?;
        let header = header.map(|text| text.split(';').next().unwrap_or_default().trim());
        let header = header.filter(|text| text.starts_with("application/vnd."));
        // One text that can be read as either kind is how images are smuggled past checks.
        let types = [header, manifest.media_type.as_deref()];
        let index = |text: &str| matches!(text, OCI_INDEX | DOCKER_INDEX);
        let single = |text: &str| matches!(text, OCI_MANIFEST | DOCKER_MANIFEST);
        let has_index = !manifest.manifests.is_empty();
        let has_single = !manifest.layers.is_empty() || manifest.config.is_some();
        let fits = types.into_iter().flatten().all(|text| {
            if has_index {
                index(text)
            } else {
                single(text) || index(text)
            }
        });
        if (has_index && has_single) || !fits {
            return Err("the manifest is not of the kind that it says it is".to_owned());
        }
        Ok(manifest)
    }

    fn is_index(&self) -> bool {
        !self.manifests.is_empty()
    }

    /// The manifest for this machine, else the first.
    fn choose(&self) -> Option<&Descriptor> {
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let mut manifests = self
            .manifests
            .iter()
            .filter(|it| !matches!(it.media_type.as_str(), OCI_INDEX | DOCKER_INDEX));
        let is_ours = |it: &&Descriptor| {
            it.platform
                .as_ref()
                .is_some_and(|platform| platform.architecture == ours)
        };
        manifests.clone().find(is_ours).or_else(|| manifests.next())
    }

    /// The layer that is a SIF: there must be no other.
    fn sif(&self) -> Result<&Descriptor, &'static str> {
        match self.layers.as_slice() {
            [layer] if SIF_LAYERS.contains(&layer.media_type.as_str()) && layer.size > 0 => {
                Ok(layer)
            }
            [layer] if SIF_LAYERS.contains(&layer.media_type.as_str()) => Err("the image is empty"),
            _ => Err("no SIF image but something else, such as an image for docker://"),
        }
    }
}

fn unusable(name: &str, reason: &str) -> RemoteError {
    RemoteError::Unusable {
        url: name.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn layer(media_type: &str, size: u64) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{DIGEST}","size":{size}}}"#)
    }

    fn sif(layers: &[String]) -> Result<u64, String> {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{}},"layers":[{}]}}"#,
            layers.join(",")
        );
        let manifest = Manifest::parse(text.as_bytes(), Some(OCI_MANIFEST))?;
        manifest
            .sif()
            .map(|layer| layer.size)
            .map_err(str::to_owned)
    }

    #[test]
    fn one_layer_that_is_a_sif() {
        assert_eq!(sif(&[layer(SIF_LAYERS[0], 7)]), Ok(7));
        assert_eq!(sif(&[layer(SIF_LAYERS[1], 7)]), Ok(7));
        assert!(sif(&[layer(SIF_LAYERS[0], 0)]).is_err());
        assert!(sif(&[layer(SIF_LAYERS[0], 7), layer(SIF_LAYERS[0], 7)]).is_err());
        assert!(
            sif(&[layer("application/vnd.oci.image.layer.v1.tar", 7)])
                .unwrap_err()
                .contains("docker://")
        );
        assert!(sif(&[]).is_err());
        assert!(sif(&[layer(SIF_LAYERS[0], 7).replace("sha256:", "sha256:../")]).is_err());
        assert!(sif(&[layer(SIF_LAYERS[0], 7).replace(":7}", ":-7}")]).is_err());
    }

    #[test]
    fn an_index_names_one_for_this_machine() {
        let arch = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        let entry = |digit: &str, arch: &str| {
            let digest = format!("sha256:{}", digit.repeat(64));
            format!(r#"{{"digest":"{digest}","size":1,"platform":{{"architecture":"{arch}"}}}}"#)
        };
        let choose = |entries: &[String]| {
            let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
            let index = Manifest::parse(text.as_bytes(), Some(OCI_INDEX)).unwrap();
            index.choose().map(|it| it.digest.hex()[..1].to_owned())
        };
        assert_eq!(
            choose(&[entry("a", "s390x"), entry("b", arch)]).as_deref(),
            Some("b")
        );
        assert_eq!(
            choose(&[entry("a", "s390x"), entry("b", "riscv64")]).as_deref(),
            Some("a")
        );
    }

    #[test]
    fn what_could_be_read_as_either_kind_is_refused() {
        let (layers, manifests) = (
            layer(SIF_LAYERS[0], 7),
            format!(r#"{{"digest":"{DIGEST}","size":1}}"#),
        );
        let both = format!(r#"{{"layers":[{layers}],"manifests":[{manifests}]}}"#);
        assert!(Manifest::parse(both.as_bytes(), None).is_err());
        let index = format!(r#"{{"manifests":[{manifests}]}}"#);
        assert!(Manifest::parse(index.as_bytes(), Some(OCI_MANIFEST)).is_err());
        assert!(Manifest::parse(index.as_bytes(), Some("application/json; charset=utf-8")).is_ok());
        assert!(Manifest::parse(index.as_bytes(), Some(DOCKER_INDEX)).is_ok());
        let typed = format!(r#"{{"mediaType":"{OCI_MANIFEST}","manifests":[{manifests}]}}"#);
        assert!(Manifest::parse(typed.as_bytes(), Some(OCI_INDEX)).is_err());
        assert!(Manifest::parse(b"<html>", None).is_err());
    }
}
