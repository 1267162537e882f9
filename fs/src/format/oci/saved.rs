//! What `docker save` writes: an archive with `manifest.json`, which names a configuration and layers.

use serde::Deserialize;

use super::archive::{Archive, OciArchive};
use super::document::{OciConfig, OciImage, OciLayer};
use super::layout::{self, Files as _};
use super::platform::Platform;
use super::{Count, LayerBytes, OciError, Store};
use crate::remote::Digest;

/// An image that docker saved.
#[derive(Debug)]
pub struct SavedImage {
    archive: Archive,
    wanted: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl SavedImage {
    /// The archive that `text` names: `FILE` or `FILE:NAME:TAG`. One that is a layout as well is read
    /// as that.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(text: &str) -> Result<Box<dyn Store>, OciError> {
        let (path, wanted) = layout::split(text);
        let archive = Archive::open(&path)?;
        if wanted.is_none() && archive.has("oci-layout") && archive.has("index.json") {
            let layout = OciArchive::of(archive);
            // A layout of several images is told apart by the other list only.
            if !archive_has_list(&layout) || layout.image(&Platform::host()).is_ok() {
                return Ok(Box::new(layout));
            }
            let archive = Archive::open(&path)?;
            return Ok(Box::new(Self { archive, wanted }));
        }
        Ok(Box::new(Self { archive, wanted }))
    }

    /// The only image of an archive.
    pub(super) fn of(archive: Archive) -> Self {
        let wanted = None;
        Self { archive, wanted }
    }

    /// A small file of the archive.
    pub(super) fn document(&self, path: &str) -> Result<Vec<u8>, OciError> {
        layout::document(&self.archive, path)
    }

    fn item(&self) -> Result<(Item, Vec<u8>), OciError> {
        let name = self.name();
        let wrong = |reason: String| OciError::unusable(&name, reason);
        let bytes = layout::document(&self.archive, "manifest.json")?;
        let mut items: Vec<Item> = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("manifest.json: {error}")))?;
        if let Some(wanted) = &self.wanted {
            let has_name = |item: &Item| {
                let mut tags = item.repo_tags.iter().flatten();
                tags.any(|tag| tag == wanted || tag.strip_suffix(":latest") == Some(wanted))
            };
            items.retain(has_name);
            if items.is_empty() {
                return Err(wrong(format!("there is no image {wanted} in it")));
            }
        }
        match <[Item; 1]>::try_from(items) {
            Ok([item]) => Ok((item, bytes)),
            Err(items) => Err(wrong(format!(
                "it has {} images, and not one; name it behind the file, as in {name}:name:tag",
                items.len()
            ))),
        }
    }
}

fn archive_has_list(layout: &OciArchive) -> bool {
    layout.has("manifest.json")
}

impl Store for SavedImage {
    fn name(&self) -> String {
        format!("docker-archive:{}", self.archive.name())
    }

    fn image(&self, _: &Platform) -> Result<OciImage, OciError> {
        let name = self.name();
        let wrong = |reason: String| OciError::unusable(&name, reason);
        let (item, list) = self.item()?;
        let raw_config = layout::document(&self.archive, &item.config)?;
        let config = OciConfig::parse(&name, &raw_config)?;
        let paths = item.layers.unwrap_or_default();
        if paths.len() != config.diff_ids().len() {
            return Err(wrong(format!(
                "its configuration has {} layers, its list {}",
                config.diff_ids().len(),
                paths.len()
            )));
        }
        let mut layers = Vec::new();
        for (path, diff_id) in paths.into_iter().zip(config.diff_ids()) {
            let size = self
                .archive
                .size_of(&path)
                .ok_or_else(|| wrong(format!("there is no file {path} in it")))?;
            layers.push(OciLayer {
                media_type: String::new(),
                digest: None,
                size,
                diff_id: Some(diff_id.clone()),
                path: Some(path),
            });
        }
        // The archive has no manifest; configuration and list say as much.
        let digest = Digest::of(&[&*raw_config, &*list].concat());
        Ok(OciImage {
            name,
            digest,
            raw_config,
            config,
            layers,
        })
    }

    fn open(&self, layers: &[&OciLayer], _: Count) -> Result<Vec<LayerBytes>, OciError> {
        layout::open(&self.archive, layers)
    }
}
