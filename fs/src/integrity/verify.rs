//! Verifying the signatures of an image.

use super::Error;
use super::dsse::Envelope;
use super::image::{Object, SignedImage};
use super::metadata::Metadata;
use super::pgp::{ClearSigned, Fingerprint, PublicKey, is_clear_signed};
use super::{legacy, raw_key};
use crate::format::sif::{DataType, Descriptor, Extra, Link, PartitionType};

/// Keys that signatures are verified with; a kind that is not given makes its signatures an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys<'a> {
    /// OpenPGP's.
    pub pgp: Option<&'a [PublicKey]>,
    /// Others.
    pub raw: Option<&'a [raw_key::PublicKey]>,
}

/// What is to be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// A whole group.
    Group(u32),
    /// One object of a group.
    Object(u32),
    /// A group, by legacy signatures.
    LegacyGroup(u32),
    /// An object, by legacy signatures.
    LegacyObject(u32),
}

/// Who made a signature.
#[derive(Clone, Debug)]
pub enum SignedBy<'a> {
    /// The owner of an OpenPGP key.
    Pgp(&'a PublicKey),
    /// Nobody is known: the key is not an OpenPGP key.
    Raw,
    /// The key is not known, or the signature does not hold.
    Unknown,
}

/// One signature's outcome.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// Who signed.
    pub by: SignedBy<'a>,
    /// For an OpenPGP signature: the id of the key that it names.
    pub issuer: Option<String>,
    /// The objects that are as they were when it was made.
    pub verified: Vec<&'a Descriptor>,
    /// The object whose data is not.
    pub broken: Option<&'a Descriptor>,
    /// What is wrong, if something is.
    pub error: Option<&'a Error>,
}

/// What to do when nobody says: every group, in ascending order; of `legacy` signatures the one of
/// the root partition, or with `all` those of every object of a group.
///
/// # Errors
/// [`Error::NoGroups`], or no root partition.
pub fn default_tasks(image: &SignedImage, legacy: bool, all: bool) -> Result<Vec<Task>, Error> {
    if !legacy {
        let groups = image.groups();
        if groups.is_empty() {
            return Err(Error::NoGroups);
        }
        return Ok(groups.into_iter().map(Task::Group).collect());
    }
    if all {
        let objects = image.objects().iter().map(|object| &object.descriptor);
        return Ok(objects
            .filter(|object| object.group.is_some())
            .map(|object| Task::LegacyObject(object.id))
            .collect());
    }
    let system = image.objects().iter().find(|object| {
        matches!(
            object.descriptor.extra,
            Extra::Partition {
                kind: PartitionType::PrimarySystem,
                ..
            }
        )
    });
    let system = system.ok_or(Error::ObjectNotFound)?;
    Ok(vec![Task::LegacyObject(system.descriptor.id)])
}

/// Told about a signature; whether a failure of it is to be overlooked.
pub type Listener<'l> = dyn FnMut(&Outcome<'_>) -> bool + 'l;

/// Verifies all that `tasks` ask for, and tells `report` about every signature; the first failure
/// that it does not overlook ends it.
///
/// # Errors
/// [`Error`]
pub fn verify(
    image: &SignedImage,
    keys: Keys<'_>,
    tasks: &[Task],
    report: &mut Listener<'_>,
) -> Result<(), Error> {
    let resolved: Vec<Resolved<'_>> = tasks
        .iter()
        .map(|task| resolve(image, *task))
        .collect::<Result<_, _>>()?;
    let signable = image.objects().iter().map(|object| &object.descriptor);
    if signable
        .filter(|object| object.data_type != DataType::Signature)
        .any(|object| object.group.is_none())
    {
        return Err(Error::Ungrouped);
    }
    for task in &resolved {
        let signatures = image.signatures(task.link)?;
        let mut wanted = signatures
            .iter()
            .filter(|(_, content)| legacy::is_legacy(content) == task.legacy)
            .peekable();
        if wanted.peek().is_none() {
            return Err(task.missing());
        }
        for (signature, content) in wanted {
            one(image, keys, task, signature, content, report)?;
        }
    }
    Ok(())
}

/// A task with what it is about.
struct Resolved<'a> {
    group: u32,
    objects: Vec<&'a Object>,
    /// Where its signatures point.
    link: Link,
    subset: bool,
    legacy: bool,
}

impl Resolved<'_> {
    fn missing(&self) -> Error {
        match self.link {
            Link::Object(id) => Error::NotFoundForObject(id),
            _ => Error::GroupNotSigned(self.group),
        }
    }
}

fn resolve(image: &SignedImage, task: Task) -> Result<Resolved<'_>, Error> {
    let whole = |group: u32, legacy| {
        let objects: Vec<&Object> = image.group(group).collect();
        if objects.is_empty() {
            return Err(Error::GroupNotFound);
        }
        Ok(Resolved {
            group,
            objects,
            link: Link::Group(group),
            subset: false,
            legacy,
        })
    };
    let single = |id: u32, legacy| {
        let object = image.object(id)?;
        let group = object.descriptor.group.ok_or(Error::NoGroup)?;
        Ok(Resolved {
            group,
            objects: vec![object],
            link: if legacy {
                Link::Object(id)
            } else {
                Link::Group(group)
            },
            subset: true,
            legacy,
        })
    };
    match task {
        Task::Group(group) => whole(group, false),
        Task::LegacyGroup(group) => whole(group, true),
        Task::Object(id) => single(id, false),
        Task::LegacyObject(id) => single(id, true),
    }
}

/// Verifies one signature.
fn one(
    image: &SignedImage,
    keys: Keys<'_>,
    task: &Resolved<'_>,
    signature: &Object,
    content: &[u8],
    report: &mut Listener<'_>,
) -> Result<(), Error> {
    let id = signature.descriptor.id;
    let kind = Kind::of(content).ok_or(Error::Format)?;
    let mut by = SignedBy::Unknown;
    let mut issuer = None;
    let mut verified = Vec::new();
    let result = match kind {
        Kind::Dsse(envelope) => {
            let raw = keys.raw.ok_or(Error::NoKey("DSSE envelope"))?;
            envelope
                .verify(raw)
                .map_err(|reason| Error::NotValid { id, reason })
                .and_then(|payload| {
                    by = SignedBy::Raw;
                    described(id, &payload)?.check(
                        image,
                        task.group,
                        &task.objects,
                        task.subset,
                        &mut verified,
                    )
                })
        }
        Kind::Pgp(signed) => {
            let pgp = keys.pgp.ok_or(Error::NoKey("PGP clear-sign"))?;
            issuer = signed.issuer();
            signed
                .signer(&pgp.iter())
                .map_err(|reason| Error::NotValid { id, reason })
                .and_then(|key| {
                    by = SignedBy::Pgp(key);
                    if named(signature) != Some(key.fingerprint()) {
                        return Err(Error::Fingerprint);
                    }
                    let text = signed.text();
                    if task.legacy {
                        return legacy::check(
                            image,
                            signature,
                            &text,
                            &task.objects,
                            &mut verified,
                        );
                    }
                    described(id, text.as_bytes())?.check(
                        image,
                        task.group,
                        &task.objects,
                        task.subset,
                        &mut verified,
                    )
                })
        }
    };
    let overlooked = report(&Outcome {
        by,
        issuer,
        verified: verified.iter().map(|object| &object.descriptor).collect(),
        broken: match result {
            Err(Error::Object(id)) => Some(&image.object(id)?.descriptor),
            _ => None,
        },
        error: result.as_ref().err(),
    });
    if overlooked { Ok(()) } else { result }
}

/// What a signature is made with.
enum Kind {
    Dsse(Envelope),
    Pgp(ClearSigned),
}

impl Kind {
    fn of(content: &[u8]) -> Option<Self> {
        if is_clear_signed(content) {
            return ClearSigned::parse(content).map(Self::Pgp);
        }
        Envelope::parse(content).map(Self::Dsse)
    }
}

fn described(id: u32, json: &[u8]) -> Result<Metadata, Error> {
    Metadata::from_json(json).map_err(|reason| Error::Metadata { id, reason })
}

/// The signer that the descriptor names.
fn named(signature: &Object) -> Option<Fingerprint> {
    match signature.descriptor.extra {
        Extra::Signature { fingerprint, .. } => fingerprint,
        _ => None,
    }
}

/// Who has signed an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SignedWith {
    /// Those whose signature covers all that was looked at.
    pub all: Vec<Fingerprint>,
    /// Those whose signature covers any of it.
    pub any: Vec<Fingerprint>,
}

/// Finds who of the owners of `keys` has signed the image: all its groups, or by `legacy` signatures
/// its root partition. Signatures by others do not matter; those by them must hold.
///
/// # Errors
/// [`Error`]
pub fn signed_with(
    image: &SignedImage,
    keys: &[PublicKey],
    legacy: bool,
) -> Result<SignedWith, Error> {
    let keys = Keys {
        pgp: Some(keys),
        raw: None,
    };
    let mut found: Option<SignedWith> = None;
    for task in default_tasks(image, legacy, false)? {
        let mut signers = Vec::new();
        verify(image, keys, &[task], &mut |outcome| {
            if let (SignedBy::Pgp(key), None) = (&outcome.by, outcome.error) {
                signers.push(key.fingerprint());
            }
            outcome.error.is_some_and(Error::is_unknown_signer)
        })?;
        found = Some(match found {
            None => SignedWith {
                all: signers.clone(),
                any: signers,
            },
            Some(mut found) => {
                found.all.retain(|print| signers.contains(print));
                found.any.extend(signers);
                found
            }
        });
    }
    Ok(found.unwrap_or_default())
}
