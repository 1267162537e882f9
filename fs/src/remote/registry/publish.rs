//! The digests of a SIF's chunks, published beside it for readers of parts
//! ([`super::super::digests`]).
//!
//! The artifact refers to the SIF's manifest. Registries that know the referrers API find it by that;
//! for others an index under a tag made of the digest is kept, as the specification has it.

use serde_json::{Value, json};

use super::super::client::Client;
use super::super::digest::Digest;
use super::super::digests::{ARTIFACT_TYPE, LAYER_TYPE, TOP_ANNOTATION};
use super::super::error::RemoteError;
use super::super::reference::{OrasReference, Version};
use super::Place;
use super::manifest::{MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use super::push::{Blob, EMPTY, Pushed, place};

/// The configuration that artifacts without one have.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

impl Client {
    /// Publishes `list`, whose beginning has the digest `top`, about the manifest `subject` that was
    /// pushed to `reference`.
    ///
    /// # Errors
    /// What the registry does not like; the image is there all the same.
    pub fn publish_chunk_digests(
        &self,
        reference: &OrasReference,
        subject: &Pushed,
        list: &[u8],
        top: &Digest,
    ) -> Result<(), RemoteError> {
        let name = reference.to_string();
        let place = place(&name, reference);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {
                "mediaType": EMPTY_TYPE,
                "digest": Digest::of(EMPTY).as_str(),
                "size": EMPTY.len(),
            },
            "layers": [{
                "mediaType": LAYER_TYPE,
                "digest": Digest::of(list).as_str(),
                "size": list.len(),
                "annotations": { TOP_ANNOTATION: top.as_str() },
            }],
            "subject": {
                "mediaType": OCI_MANIFEST,
                "digest": subject.digest.as_str(),
                "size": subject.size,
            },
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.block_on(async {
            self.push_blob(place, &Blob::Bytes(list)).await?;
            self.push_blob(place, &Blob::Bytes(EMPTY)).await?;
            let keeps = self
                .push_manifest(place, digest.as_str(), OCI_MANIFEST, &bytes)
                .await?;
            if !keeps {
                let entry = json!({
                    "mediaType": OCI_MANIFEST,
                    "digest": digest.as_str(),
                    "size": bytes.len(),
                    "artifactType": ARTIFACT_TYPE,
                });
                self.enter_in_index(place, &subject.digest, entry).await?;
            }
            Ok(())
        })?
    }

    /// Adds `entry` to the index that stands in for the referrers API.
    async fn enter_in_index(
        &self,
        place: Place<'_>,
        subject: &Digest,
        entry: Value,
    ) -> Result<(), RemoteError> {
        let hex: String = subject.hex().chars().take(64).collect();
        let tag = format!("{}-{hex}", subject.algorithm());
        let mut index = match self.index_at(place, &tag).await {
            Ok(index) => index,
            Err(RemoteError::NotFound { .. }) => Value::Null,
            Err(error) => return Err(error),
        };
        let mut manifests = match index.get_mut("manifests").map(Value::take) {
            Some(Value::Array(manifests)) => manifests,
            _ => Vec::new(),
        };
        if manifests
            .iter()
            .any(|known| known.get("digest") == entry.get("digest"))
        {
            return Ok(());
        }
        manifests.push(entry);
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": manifests,
        });
        let bytes = index.to_string().into_bytes();
        if bytes.len() > MAX_MANIFEST {
            return Err(RemoteError::Unusable {
                url: place.name.to_owned(),
                reason: format!("the index {tag} is full"),
            });
        }
        self.push_manifest(place, &tag, OCI_INDEX, &bytes).await?;
        Ok(())
    }

    async fn index_at(&self, place: Place<'_>, tag: &str) -> Result<Value, RemoteError> {
        let roads = self.writing_roads(place, &format!("manifests/{tag}"))?;
        let version = Version::Tag(tag.to_owned());
        let mut patience = self.patience(place.name, self.options().look_up_for());
        loop {
            let wait = patience.stall();
            match self
                .raw_manifest_once(&roads, place.name, &version, wait)
                .await
            {
                Ok(raw) => return Ok(serde_json::from_slice(&raw.bytes).unwrap_or(Value::Null)),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }
}
