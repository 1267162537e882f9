//! A SIF put into a registry: its blob, a manifest as ORAS has them, and the digests of its chunks
//! beside it.
//!
//! ```text
//! HEAD blobs/DIGEST            there already?
//! POST blobs/uploads/          a place to send it to
//! PUT  <place>?digest=DIGEST   all of it
//! PUT  manifests/TAG
//! ```
//! Whatever breaks off is tried again with the patience of the settings, from the second step on.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};

use super::super::client::Client;
use super::super::digest::Digest;
use super::super::error::RemoteError;
use super::super::exchange::{Access, Errand, judge};
use super::super::failure::Failure;
use super::super::payload::{FilePart, Payload};
use super::super::reference::{OrasReference, Version};
use super::super::roads::{Road, Roads};
use super::Place;
use super::manifest::OCI_MANIFEST;

const CONFIG_TYPE: &str = "application/vnd.sylabs.sif.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.sylabs.sif.layer.v1.sif";
/// The configuration that says nothing.
pub(super) const EMPTY: &[u8] = b"{}";

/// A file to be pushed, with its digest.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The SIF.
    pub file: Arc<File>,
    /// Its length.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// Its name, for people.
    pub title: String,
    /// Counts the bytes that were sent.
    pub sent: Arc<AtomicU64>,
}

/// A manifest that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

/// Content of a blob.
pub(super) enum Blob<'a> {
    Bytes(&'a [u8]),
    File(&'a Upload),
}

impl Blob<'_> {
    fn digest(&self) -> Digest {
        match self {
            Self::Bytes(bytes) => Digest::of(bytes),
            Self::File(upload) => upload.digest.clone(),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(upload) => upload.size,
        }
    }

    /// How much of it was sent, in all attempts.
    fn sent(&self) -> u64 {
        match self {
            Self::Bytes(_) => 0,
            Self::File(upload) => upload.sent.load(Relaxed),
        }
    }

    fn payload(&self) -> Payload {
        match self {
            Self::Bytes(bytes) => Payload::text(*bytes),
            Self::File(upload) => Payload::File(FilePart {
                file: Arc::clone(&upload.file),
                size: upload.size,
                sent: Arc::clone(&upload.sent),
            }),
        }
    }
}

impl Client {
    /// Pushes a SIF to where `reference` says.
    ///
    /// # Errors
    /// No access, no network, or what the registry does not like.
    pub fn push_sif(
        &self,
        reference: &OrasReference,
        upload: &Upload,
    ) -> Result<Pushed, RemoteError> {
        let name = reference.to_string();
        if self.options().offline {
            return Err(RemoteError::Offline { name });
        }
        let config = Blob::Bytes(EMPTY);
        let manifest = sif_manifest(upload, &config.digest());
        let pushed = Pushed {
            digest: Digest::of(&manifest),
            size: manifest.len() as u64,
        };
        if let Version::Digest(wanted) = reference.version()
            && *wanted != pushed.digest
        {
            return Err(RemoteError::Unusable {
                url: name,
                reason: format!(
                    "the image's manifest has the digest {}, not this one; give a tag",
                    pushed.digest
                ),
            });
        }
        let place = place(&name, reference);
        self.block_on(async {
            self.push_blob(place, &Blob::File(upload)).await?;
            self.push_blob(place, &config).await?;
            self.push_manifest(place, reference.version().as_str(), OCI_MANIFEST, &manifest)
                .await?;
            Ok(pushed)
        })?
    }

    /// The ways to write to `/v2/<repository>/<rest>`: never to a mirror.
    pub(super) fn writing_roads(&self, place: Place<'_>, rest: &str) -> Result<Roads, RemoteError> {
        let roads = self.registry_roads(place, rest)?.without_mirrors();
        for road in roads.iter() {
            if let Access::Guard(guard) = &road.access {
                guard.will_write();
            }
        }
        Ok(roads)
    }

    pub(super) async fn push_blob(
        &self,
        place: Place<'_>,
        blob: &Blob<'_>,
    ) -> Result<(), RemoteError> {
        let digest = blob.digest();
        let here = self.writing_roads(place, &format!("blobs/{digest}"))?;
        let uploads = self.writing_roads(place, "blobs/uploads/")?;
        let mut patience = self.patience(place.name, self.options().look_up_for());
        loop {
            let before = blob.sent();
            let wait = self.options().stall_after;
            let done = self.push_blob_once(place, blob, (&here, &uploads), wait);
            let Err(failure) = done.await else {
                return Ok(());
            };
            if blob.sent() > before {
                patience.progress();
            }
            patience.after(failure).await?;
        }
    }

    async fn push_blob_once(
        &self,
        place: Place<'_>,
        blob: &Blob<'_>,
        (here, uploads): (&Roads, &Roads),
        wait: Duration,
    ) -> Result<(), Failure> {
        let errand = |method, body: Option<Payload>| Errand {
            method,
            headers: HeaderMap::new(),
            body,
        };
        let look = errand(Method::HEAD, None);
        let is_here = here
            .first(self, async |_, road| {
                let reply = self.exchange(&look, road, wait).await?;
                match reply.status() {
                    StatusCode::NOT_FOUND => Ok(false),
                    // Some registries let nobody look who may not read.
                    status if status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
                        Ok(false)
                    }
                    _ => judge(reply, place.name, wait).await.map(|_| true),
                }
            })
            .await?;
        if is_here {
            return Ok(());
        }
        let mut begin = errand(Method::POST, None);
        begin
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        uploads
            .first(self, async |_, road| {
                let reply =
                    judge(self.exchange(&begin, road, wait).await?, place.name, wait).await?;
                let there =
                    self.upload_road(place, road, reply.header(LOCATION), &blob.digest())?;
                reply.discard(wait).await;
                let mut send = errand(Method::PUT, Some(blob.payload()));
                send.headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/octet-stream"),
                );
                send.headers
                    .insert(CONTENT_LENGTH, HeaderValue::from(blob.size()));
                let reply =
                    judge(self.exchange(&send, &there, wait).await?, place.name, wait).await?;
                reply.discard(wait).await;
                Ok(())
            })
            .await
    }

    /// Where a registry wants a blob to be sent. Who we are is told to the registry alone.
    fn upload_road(
        &self,
        place: Place<'_>,
        from: &Road,
        location: Option<&str>,
        digest: &Digest,
    ) -> Result<Road, Failure> {
        let wrong = || RemoteError::Unusable {
            url: place.name.to_owned(),
            reason: "the registry does not say where to send it".to_owned(),
        };
        let mut url = location
            .and_then(|location| from.start.join(location).ok())
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(wrong)?;
        if from.start.scheme() == "https" && url.scheme() == "http" {
            // Behind a proxy that speaks https for them some believe that they speak http.
            if url.host_str() != from.start.host_str() || url.set_scheme("https").is_err() {
                return Err(wrong().into());
            }
            // The port is a matter of the scheme.
            let port = from.start.port();
            url.set_port(port).map_err(|()| wrong())?;
        }
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let at_home = same_origin(&url, &from.start);
        let access = match &from.access {
            access if at_home => access.clone(),
            _ => Access::Open,
        };
        Ok(Road::new(url, access, from.insecure && at_home))
    }

    /// Puts a manifest in place; returns whether the registry keeps account of what it refers to.
    pub(super) async fn push_manifest(
        &self,
        place: Place<'_>,
        version: &str,
        media_type: &'static str,
        bytes: &[u8],
    ) -> Result<bool, RemoteError> {
        let roads = self.writing_roads(place, &format!("manifests/{version}"))?;
        let mut errand = Errand {
            method: Method::PUT,
            headers: HeaderMap::new(),
            body: Some(Payload::text(bytes)),
        };
        errand
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let mut patience = self.patience(place.name, self.options().look_up_for());
        loop {
            let wait = patience.stall();
            let put = roads.first(self, async |_, road| {
                let reply = self.exchange(&errand, road, wait).await?;
                let reply = judge(reply, place.name, wait).await?;
                let keeps = reply.header("oci-subject").is_some();
                reply.discard(wait).await;
                Ok(keeps)
            });
            match put.await {
                Ok(keeps) => return Ok(keeps),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }
}

pub(super) fn place<'a>(name: &'a str, reference: &'a OrasReference) -> Place<'a> {
    Place {
        name,
        registry: reference.registry(),
        repository: reference.repository(),
        pinned: matches!(reference.version(), Version::Digest(_)),
    }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// The manifest as Apptainer writes it, to the byte: the same image has the same digest.
fn sif_manifest(upload: &Upload, config: &Digest) -> Vec<u8> {
    let title = serde_json::Value::from(upload.title.as_str());
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{{\"mediaType\":\
         \"{CONFIG_TYPE}\",\"size\":{},\"digest\":\"{config}\"}},\"layers\":[{{\"mediaType\":\
         \"{LAYER_TYPE}\",\"size\":{},\"digest\":\"{}\",\"annotations\":{{\
         \"org.opencontainers.image.title\":{title}}}}}]}}",
        EMPTY.len(),
        upload.size,
        upload.digest
    )
    .into_bytes()
}
