//! OCI images in registries: the bytes of their documents and blobs. What they mean is told by
//! [`crate::format::oci`].

use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use skiff_cache::disk::Fetch as _;

use super::super::blob::RemoteBlob;
use super::super::client::Client;
use super::super::digest::Digest;
use super::super::error::RemoteError;
use super::super::exchange::{Errand, judge};
use super::super::failure::Failure;
use super::super::reference::{DockerReference, Version};
use super::super::resolved::{Location, Resolved};
use super::Place;
use super::manifest::{ACCEPTED, MAX_MANIFEST};

/// The bytes of a manifest or index, which fit their digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawManifest {
    /// As they came.
    pub bytes: Vec<u8>,
    /// What the registry says they are.
    pub media_type: Option<String>,
    /// Their digest.
    pub digest: Digest,
}

impl Client {
    /// The manifest or index that `reference` names.
    ///
    /// # Errors
    /// No such image, no access, no network.
    pub fn image_manifest(&self, reference: &DockerReference) -> Result<RawManifest, RemoteError> {
        let name = reference.to_string();
        self.online(&name)?;
        let place = place(&name, reference);
        let rest = format!("manifests/{}", reference.version().as_str());
        let roads = self.registry_roads(place, &rest)?;
        let mut patience = self.patience(&name, self.options().look_up_for());
        self.block_on(async {
            loop {
                let wait = patience.stall();
                match self
                    .raw_manifest_once(&roads, &name, reference.version(), wait)
                    .await
                {
                    Ok(raw) => return Ok(raw),
                    Err(failure) => patience.after(failure).await?,
                }
            }
        })?
    }

    /// The digest of the manifest that `reference` names, by a request that transfers no more.
    ///
    /// # Errors
    /// As [`Client::image_manifest`].
    pub fn image_digest(&self, reference: &DockerReference) -> Result<Digest, RemoteError> {
        if let Version::Digest(digest) = reference.version() {
            return Ok(digest.clone());
        }
        let name = reference.to_string();
        self.online(&name)?;
        let rest = format!("manifests/{}", reference.version().as_str());
        let roads = self.registry_roads(place(&name, reference), &rest)?;
        let errand = Errand {
            method: Method::HEAD,
            headers: accepted(),
            body: None,
        };
        let mut patience = self.patience(&name, self.options().look_up_for());
        let told = self.block_on(async {
            loop {
                let wait = patience.stall();
                let asked = roads.first(self, async |_, road| {
                    let reply = self.exchange(&errand, road, wait).await?;
                    if reply.status() == StatusCode::METHOD_NOT_ALLOWED {
                        return Ok(None);
                    }
                    let reply = judge(reply, &name, wait).await?;
                    Ok::<_, Failure>(
                        reply
                            .header("docker-content-digest")
                            .and_then(|text| text.trim().parse::<Digest>().ok()),
                    )
                });
                match asked.await {
                    Ok(told) => return Ok::<_, RemoteError>(told),
                    Err(failure) => patience.after(failure).await?,
                }
            }
        })??;
        match told {
            Some(digest) => Ok(digest),
            None => Ok(self.image_manifest(reference)?.digest),
        }
    }

    /// A blob of the repository of `reference`. That its bytes fit the digest is for the reader to
    /// check.
    ///
    /// # Errors
    /// A registry that is not to be used.
    pub fn image_blob(
        self: &Arc<Self>,
        reference: &DockerReference,
        digest: &Digest,
        size: u64,
    ) -> Result<Arc<RemoteBlob>, RemoteError> {
        let name = reference.to_string();
        self.blob(&Resolved {
            reference: name,
            key: format!("{digest} {}", reference.registry()),
            size,
            digest: Some(digest.to_string()),
            media_type: None,
            has_ranges: true,
            location: Location::Registry {
                registry: reference.registry().to_owned(),
                repository: reference.repository().to_owned(),
                pinned: matches!(reference.version(), Version::Digest(_)),
                digest: digest.clone(),
                manifest: digest.clone(),
            },
        })
    }

    /// A small blob as a whole, which fits its digest.
    ///
    /// # Errors
    /// As [`Client::image_manifest`].
    pub fn image_document(
        self: &Arc<Self>,
        reference: &DockerReference,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<u8>, RemoteError> {
        let name = reference.to_string();
        self.online(&name)?;
        if size > MAX_MANIFEST as u64 {
            return Err(RemoteError::Unusable {
                url: name,
                reason: format!("a document of {size} bytes is none that an image has"),
            });
        }
        let blob = self.image_blob(reference, digest, size)?;
        let mut bytes = Vec::new();
        let fetched = blob.fetch(0..size, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        fetched.map_err(|error| remote_error(&name, error))?;
        if digest.fits(&bytes) {
            Ok(bytes)
        } else {
            Err(RemoteError::Mismatch {
                url: name,
                digest: digest.to_string(),
            })
        }
    }

    fn online(&self, name: &str) -> Result<(), RemoteError> {
        if self.options().offline {
            return Err(RemoteError::Offline {
                name: name.to_owned(),
            });
        }
        Ok(())
    }
}

/// The error that a blob wrapped.
fn remote_error(name: &str, error: std::io::Error) -> RemoteError {
    let text = error.to_string();
    match error
        .into_inner()
        .map(<dyn std::error::Error + Send + Sync>::downcast)
    {
        Some(Ok(error)) => *error,
        _ => RemoteError::Unusable {
            url: name.to_owned(),
            reason: text,
        },
    }
}

fn place<'a>(name: &'a str, reference: &'a DockerReference) -> Place<'a> {
    Place {
        name,
        registry: reference.registry(),
        repository: reference.repository(),
        pinned: matches!(reference.version(), Version::Digest(_)),
    }
}

pub(super) fn accepted() -> HeaderMap {
    [(ACCEPT, HeaderValue::from_static(ACCEPTED))]
        .into_iter()
        .collect()
}

/// What a registry says a body is.
pub(super) fn media_type(reply: &super::super::transport::Reply) -> Option<String> {
    reply.header(CONTENT_TYPE).map(|text| {
        let text = text.split(';').next().unwrap_or_default();
        text.trim().to_owned()
    })
}
