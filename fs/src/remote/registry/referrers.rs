//! What others have published about a manifest: found by the referrers API, or by the tag that stands
//! in for it. Nothing depends on it, so that any failure means that there is nothing.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

use super::super::blob::RemoteBlob;
use super::super::client::Client;
use super::super::digest::Digest;
use super::super::digests::{ARTIFACT_TYPE, ChunkDigests, LAYER_TYPE, TOP_ANNOTATION};
use super::super::exchange::judge;
use super::super::failure::Failure;
use super::super::reference::Version;
use super::super::resolved::{Location, Resolved};
use super::Place;
use super::manifest::{Descriptor, MAX_MANIFEST, Manifest};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many pages of referrers are looked at, and how many artifacts are tried.
const MAX_PAGES: usize = 8;
const MAX_TRIED: usize = 4;

impl Client {
    /// The list of chunk digests that somebody published for a blob, if it can be had and fits.
    pub fn chunk_digests(self: &Arc<Self>, resolved: &Resolved) -> Option<ChunkDigests> {
        let Location::Registry {
            registry,
            repository,
            digest,
            manifest,
            ..
        } = &resolved.location
        else {
            return None;
        };
        if self.options().offline {
            return None;
        }
        let place = Place {
            name: &resolved.reference,
            registry,
            repository,
            pinned: true,
        };
        let found = self.block_on(self.find_lists(place, manifest)).ok()?;
        found.into_iter().take(MAX_TRIED).find_map(|descriptor| {
            let layer = self
                .block_on(self.list_layer(place, &descriptor, manifest))
                .ok()?
                .ok()??;
            let top = layer.annotations.get(TOP_ANNOTATION)?.parse().ok()?;
            let list = Resolved {
                reference: resolved.reference.clone(),
                key: layer.digest.to_string(),
                size: layer.size,
                digest: Some(layer.digest.to_string()),
                media_type: Some(layer.media_type),
                has_ranges: true,
                location: Location::Registry {
                    registry: registry.clone(),
                    repository: repository.clone(),
                    pinned: true,
                    digest: layer.digest,
                    manifest: descriptor.digest,
                },
            };
            // The beginning is not waited for as long as what readers need later.
            let now = RemoteBlob::new(Arc::clone(self), &list)
                .ok()?
                .within(PATIENCE);
            let later = self.blob(&list).ok()?;
            ChunkDigests::open(&now, later, list.size, &top, resolved.size, digest).ok()
        })
    }

    /// Manifests of lists that say they are about `subject`.
    async fn find_lists(&self, place: Place<'_>, subject: &Digest) -> Vec<Descriptor> {
        match self.referrers(place, subject).await {
            Ok(found) => found,
            Err(_) => self
                .tagged_referrers(place, subject)
                .await
                .unwrap_or_default(),
        }
    }

    async fn referrers(
        &self,
        place: Place<'_>,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Failure> {
        let mut rest = format!("referrers/{subject}?artifactType={ARTIFACT_TYPE}");
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let roads = self.registry_roads(place, &rest)?;
            let (page, next) = roads
                .first(self, async |_, road| {
                    let reply = self.get(road, &HeaderMap::new(), PATIENCE).await?;
                    let reply = judge(reply, place.name, PATIENCE).await?;
                    let next = reply
                        .header(LINK)
                        .and_then(|link| next_page(link, &road.start));
                    let body = reply.body(MAX_MANIFEST, PATIENCE).await?;
                    let page = Manifest::parse(&body, None).map_err(Failure::passing)?;
                    Ok((page, next))
                })
                .await?;
            // Whether the server applied the filter, as OCI-Filters-Applied says, or not: the types
            // are here to be looked at.
            found.extend(page.manifests.into_iter().filter(is_list));
            match next {
                Some(query) => rest = format!("referrers/{subject}?{query}"),
                None => break,
            }
        }
        Ok(found)
    }

    /// Registries without that API keep an index under a tag made of the digest.
    async fn tagged_referrers(
        &self,
        place: Place<'_>,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Failure> {
        let hex: String = subject.hex().chars().take(64).collect();
        let version = Version::Tag(format!("{}-{hex}", subject.algorithm()));
        let roads = self.registry_roads(place, &format!("manifests/{}", version.as_str()))?;
        let index = self
            .manifest_once(&roads, place.name, &version, PATIENCE)
            .await?;
        Ok(index
            .manifest
            .manifests
            .into_iter()
            .filter(is_list)
            .collect())
    }

    /// The layer of a list's manifest.
    async fn list_layer(
        &self,
        place: Place<'_>,
        descriptor: &Descriptor,
        subject: &Digest,
    ) -> Result<Option<Descriptor>, Failure> {
        let version = Version::Digest(descriptor.digest.clone());
        let roads = self.registry_roads(place, &format!("manifests/{}", version.as_str()))?;
        let manifest = self
            .manifest_once(&roads, place.name, &version, PATIENCE)
            .await?
            .manifest;
        let about = manifest.subject.as_ref().map(|subject| &subject.digest);
        let mut layers = manifest.layers.into_iter();
        let layer = layers.next().filter(|layer| layer.media_type == LAYER_TYPE);
        Ok(if about == Some(subject) && layers.next().is_none() {
            layer
        } else {
            None
        })
    }
}

fn is_list(descriptor: &Descriptor) -> bool {
    descriptor.artifact_type.as_deref() == Some(ARTIFACT_TYPE)
}

/// The query of the next page: `</v2/x/referrers/…?last=y>; rel="next"`. Only the query is taken, so
/// that no server sends us elsewhere.
fn next_page(link: &str, from: &Url) -> Option<String> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters
        .split(';')
        .any(|it| matches!(it.trim(), "rel=next" | "rel=\"next\""));
    let target = from.join(target).ok().filter(|_| is_next)?;
    target.query().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_next_page() {
        let from = Url::parse("https://reg/v2/a/referrers/sha256:1?artifactType=x").unwrap();
        let next = |link| next_page(link, &from);
        assert_eq!(
            next("</v2/a/referrers/sha256:1?last=2&n=5>; rel=\"next\"").as_deref(),
            Some("last=2&n=5")
        );
        assert_eq!(
            next("<https://evil/x?last=2>; rel=next").as_deref(),
            Some("last=2")
        );
        assert_eq!(next("</x?last=2>; rel=\"prev\""), None);
        assert_eq!(next("nonsense"), None);
    }
}
