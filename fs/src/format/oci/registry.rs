//! An image in a registry.

use std::sync::Arc;

use super::document::{self, OciImage, OciLayer};
use super::platform::Platform;
use super::{Count, LayerBytes, OciError, Store};
use crate::remote::{Client, DockerReference, Download};

/// A name in a registry, and the client that asks there.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    client: Arc<Client>,
    reference: DockerReference,
}

impl RegistryStore {
    /// The image that `reference` names.
    pub fn new(client: Arc<Client>, reference: DockerReference) -> Self {
        Self { client, reference }
    }
}

impl Store for RegistryStore {
    fn name(&self) -> String {
        self.reference.to_string()
    }

    fn image(&self, platform: &Platform) -> Result<OciImage, OciError> {
        let raw = self.client.image_manifest(&self.reference)?;
        let fetch = |wanted: &document::Descriptor, is_manifest: bool| {
            Ok(if is_manifest {
                let pinned = self.reference.pinned_to(&wanted.digest);
                self.client.image_manifest(&pinned)?.bytes
            } else {
                self.client
                    .image_document(&self.reference, &wanted.digest, wanted.size)?
            })
        };
        document::image(
            &self.name(),
            (raw.digest, raw.bytes, raw.media_type),
            platform,
            &fetch,
        )
    }

    fn open(&self, layers: &[&OciLayer], count: Count) -> Result<Vec<LayerBytes>, OciError> {
        let mut blobs = Vec::new();
        for layer in layers {
            let digest = layer
                .digest
                .as_ref()
                .ok_or_else(|| OciError::unusable(&self.name(), "a layer without a digest"))?;
            blobs.push(
                self.client
                    .image_blob(&self.reference, digest, layer.size)?,
            );
        }
        let readers = Download::start(blobs, count).map_err(|source| OciError::Read {
            what: "starting a thread".to_owned(),
            source,
        })?;
        Ok(readers
            .into_iter()
            .map(|reader| Box::new(reader) as LayerBytes)
            .collect())
    }
}
