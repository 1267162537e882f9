//! What is signed: the digests of a group's objects, as JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Error;
use super::digest::{self, Algorithm, Digest};
use super::image::{Object, SignedImage};

/// The version of this form.
const VERSION: u32 = 1;

/// Fields stand in the order in which they are written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Metadata {
    version: u32,
    header: HeaderPart,
    objects: Vec<ObjectPart>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct HeaderPart {
    digest: Digest,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart {
    relative_id: u32,
    descriptor_digest: Digest,
    object_digest: Digest,
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Metadata {
    /// Describes `objects`, which belong to `group` of `image`.
    pub(super) fn of(image: &SignedImage, group: u32, objects: &[&Object]) -> Result<Self, Error> {
        let first = image.first_of(group).ok_or(Error::GroupNotFound)?;
        let algorithm = Algorithm::Sha256;
        let digest = |value| Digest { algorithm, value };
        let part = |object: &&Object| {
            let id = object.descriptor.id;
            Ok(ObjectPart {
                relative_id: id.saturating_sub(first),
                descriptor_digest: digest(digest::of_descriptor(
                    &object.slot,
                    id,
                    first,
                    algorithm,
                )),
                object_digest: digest(image.digest_of(object, algorithm)?),
            })
        };
        Ok(Self {
            version: VERSION,
            header: HeaderPart {
                digest: digest(digest::of_header(image.header(), algorithm)),
            },
            objects: objects.iter().map(part).collect::<Result<_, Error>>()?,
        })
    }

    /// As it is signed.
    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::Signing(error.to_string()))
    }

    /// Reads what was signed.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, String> {
        let metadata: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if metadata.version == VERSION {
            Ok(metadata)
        } else {
            let version = metadata.version;
            Err(format!(
                "signed metadata has version {version}, which is unknown"
            ))
        }
    }

    /// Compares with what is in `image` now. All signed objects must be among `objects` and the
    /// other way round, unless these are a `subset` of the group. Objects that are as they were are
    /// put into `verified`.
    pub(super) fn check<'a>(
        &self,
        image: &SignedImage,
        group: u32,
        objects: &[&'a Object],
        subset: bool,
        verified: &mut Vec<&'a Object>,
    ) -> Result<(), Error> {
        let first = image.first_of(group).ok_or(Error::GroupNotFound)?;
        let signed_id = |part: &ObjectPart| first.checked_add(part.relative_id);
        let part_of = |id| self.objects.iter().find(|part| signed_id(part) == Some(id));
        if !subset {
            for object in objects {
                let id = object.descriptor.id;
                part_of(id).ok_or(Error::ObjectNotSigned(id))?;
            }
            for part in &self.objects {
                let id = signed_id(part);
                if !objects
                    .iter()
                    .any(|object| Some(object.descriptor.id) == id)
                {
                    return Err(Error::SignedObjectNotFound(id.unwrap_or(u32::MAX)));
                }
            }
        }
        let signed = &self.header.digest;
        if digest::of_header(image.header(), signed.algorithm) != signed.value {
            return Err(Error::Header);
        }
        for object in objects {
            let id = object.descriptor.id;
            let part = part_of(id).ok_or(Error::ObjectNotSigned(id))?;
            let signed = &part.descriptor_digest;
            let now = digest::of_descriptor(&object.slot, id, first, signed.algorithm);
            if now != signed.value {
                return Err(Error::Descriptor(id));
            }
            let signed = &part.object_digest;
            if image.digest_of(object, signed.algorithm)? != signed.value {
                return Err(Error::Object(id));
            }
            verified.push(object);
        }
        Ok(())
    }
}
