//! Signing an image.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::Error;
use super::dsse::Envelope;
use super::image::{Object, SignedImage};
use super::metadata::Metadata;
use super::pgp::SecretKey;
use super::raw_key::PrivateKey;
use crate::format::sif::{DataType, Extra, HashType, Link, NewObject, edit};

/// All times of an image that is to be the same whenever it is made.
const NO_TIME: i64 = -62_135_596_800;

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// The owner of an OpenPGP key, which has no lock.
    Pgp(&'a SecretKey),
    /// The owner of another key.
    Raw(&'a PrivateKey),
}

/// What is signed; nothing means every group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// These groups.
    pub groups: Vec<u32>,
    /// These objects.
    pub objects: Vec<u32>,
}

/// Adds a signature for each group that `selection` names to the SIF `file`, at `time` in Unix
/// seconds.
///
/// # Errors
/// [`Error`]; the file then has the signatures that were finished before.
pub fn sign(
    file: &File,
    signer: Signer<'_>,
    selection: &Selection,
    time: i64,
) -> Result<(), Error> {
    let image = SignedImage::open(file.try_clone()?)?;
    let made: Vec<(u32, String)> = parts(&image, selection)?
        .into_iter()
        .map(|(group, objects)| {
            let json = Metadata::of(&image, group, &objects)?.to_json()?;
            Ok((group, envelope(signer, &json, time)?))
        })
        .collect::<Result<_, Error>>()?;
    let header = &image.sif().header;
    let time = if header.created == NO_TIME && header.uuid == [0; 16] {
        NO_TIME
    } else {
        time
    };
    for (group, content) in made {
        append(file, signer, group, content.as_bytes(), time)?;
    }
    Ok(())
}

/// The groups to be signed, with those of their objects that are.
fn parts<'a>(
    image: &'a SignedImage,
    selection: &Selection,
) -> Result<Vec<(u32, Vec<&'a Object>)>, Error> {
    let whole = |group: u32| {
        let objects: Vec<&Object> = image.group(group).collect();
        if objects.is_empty() {
            return Err(Error::GroupNotFound);
        }
        Ok((group, objects))
    };
    if selection.groups.is_empty() && selection.objects.is_empty() {
        let groups = image.groups();
        if groups.is_empty() {
            return Err(Error::NoGroups);
        }
        return groups.into_iter().map(whole).collect();
    }
    let mut parts: Vec<(u32, Vec<&Object>)> = selection
        .groups
        .iter()
        .map(|group| whole(*group))
        .collect::<Result<_, _>>()?;
    let asked = parts.len();
    for id in &selection.objects {
        let object = image.object(*id)?;
        let group = object.descriptor.group.ok_or(Error::NoGroup)?;
        let mut single = parts.iter_mut().skip(asked);
        match single.find(|(known, _)| *known == group) {
            Some((_, objects)) => objects.push(object),
            None => parts.push((group, vec![object])),
        }
    }
    Ok(parts)
}

fn envelope(signer: Signer<'_>, json: &str, time: i64) -> Result<String, Error> {
    match signer {
        Signer::Pgp(key) => key
            .clear_sign(json, u32::try_from(time).unwrap_or(0))
            .map_err(|error| Error::Signing(error.to_string())),
        Signer::Raw(key) => {
            Envelope::sign(json.as_bytes(), key).map_err(|error| Error::Signing(error.to_string()))
        }
    }
}

/// Adds one signature object.
fn append(
    file: &File,
    signer: Signer<'_>,
    group: u32,
    content: &[u8],
    time: i64,
) -> Result<(), Error> {
    let image = SignedImage::open(file.try_clone()?)?;
    let sif = image.sif();
    let place = edit::place(sif, DataType::Signature)?;
    file.write_all_at(content, place.offset)?;
    let object = NewObject {
        data_type: DataType::Signature,
        name: "",
        extra: Extra::Signature {
            hash: HashType::Sha256,
            fingerprint: match signer {
                Signer::Pgp(key) => Some(key.fingerprint()),
                Signer::Raw(_) => None,
            },
        },
    };
    let ties = edit::Ties {
        group: None,
        link: Link::Group(group),
    };
    Ok(edit::enter(
        file,
        sif,
        place,
        object,
        content.len() as u64,
        ties,
        time,
    )?)
}
