//! Signatures of Singularity 3.0 to 3.5: a clear-signed digest of data. Descriptors and header are
//! not covered, so that they are looked at only when somebody insists.

use super::Error;
use super::digest::{Algorithm, from_hex, hash};
use super::image::{Object, SignedImage};
use super::pgp::{ClearSigned, is_clear_signed};
use crate::format::sif::{Extra, HashType};

/// What the text starts with.
const START: &str = "SIFHASH:";

/// Whether a signature's content is one of these.
pub(super) fn is_legacy(content: &[u8]) -> bool {
    is_clear_signed(content)
        && ClearSigned::parse(content)
            .is_some_and(|signed| signed.text().trim_start().starts_with(START))
}

/// Checks that `signed` by `signature` is the digest of all data of `objects`.
pub(super) fn check<'a>(
    image: &SignedImage,
    signature: &Object,
    signed: &str,
    objects: &[&'a Object],
    verified: &mut Vec<&'a Object>,
) -> Result<(), Error> {
    let id = signature.descriptor.id;
    let wrong = |reason: &str| Error::Metadata {
        id,
        reason: reason.to_owned(),
    };
    let algorithm = match signature.descriptor.extra {
        Extra::Signature { hash, .. } => match hash {
            HashType::Sha256 => Algorithm::Sha256,
            HashType::Sha384 => Algorithm::Sha384,
            HashType::Sha512 => Algorithm::Sha512,
            _ => return Err(wrong("hash algorithm unsupported")),
        },
        _ => return Err(Error::Format),
    };
    let expected = signed
        .trim()
        .strip_prefix(START)
        .and_then(|digits| from_hex(digits.trim()))
        .ok_or_else(|| wrong("invalid legacy signature format"))?;
    let found = hash(algorithm, &mut |take| {
        objects
            .iter()
            .try_for_each(|object| image.feed(object, take))
    })?;
    if found != expected {
        let first = objects.first().map_or(0, |object| object.descriptor.id);
        return Err(Error::Object(first));
    }
    verified.extend(objects);
    Ok(())
}
