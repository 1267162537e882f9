//! Digests of the parts of an image that signatures cover.

use std::fmt::{self, Write as _};
use std::io;
use std::str::FromStr;

use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

use crate::format::sif::{HEADER_LEN, Slot};

/// A digest algorithm that a signature may use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Algorithm {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512Short224,
    Sha512Short256,
}

/// Algorithm, name, length in bytes.
const ALGORITHMS: [(Algorithm, &str, usize); 6] = [
    (Algorithm::Sha224, "sha224", 28),
    (Algorithm::Sha256, "sha256", 32),
    (Algorithm::Sha384, "sha384", 48),
    (Algorithm::Sha512, "sha512", 64),
    (Algorithm::Sha512Short224, "sha512_224", 28),
    (Algorithm::Sha512Short256, "sha512_256", 32),
];

/// Takes pieces of what is hashed.
type Take<'a> = dyn FnMut(&[u8]) + 'a;

/// Gives all pieces of what is hashed.
type Feed<'a> = dyn FnMut(&mut Take<'_>) -> io::Result<()> + 'a;

/// Hashes what `feed` gives.
pub(super) fn hash(algorithm: Algorithm, feed: &mut Feed<'_>) -> io::Result<Vec<u8>> {
    fn run<D: sha2::Digest>(feed: &mut Feed<'_>) -> io::Result<Vec<u8>> {
        let mut hasher = D::new();
        feed(&mut |piece| hasher.update(piece))?;
        Ok(hasher.finalize().to_vec())
    }
    match algorithm {
        Algorithm::Sha224 => run::<Sha224>(feed),
        Algorithm::Sha256 => run::<Sha256>(feed),
        Algorithm::Sha384 => run::<Sha384>(feed),
        Algorithm::Sha512 => run::<Sha512>(feed),
        Algorithm::Sha512Short224 => run::<Sha512_224>(feed),
        Algorithm::Sha512Short256 => run::<Sha512_256>(feed),
    }
}

/// A digest and how it was computed, written `sha256:HEX`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Digest {
    pub(super) algorithm: Algorithm,
    pub(super) value: Vec<u8>,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = ALGORITHMS.iter().find(|row| row.0 == self.algorithm);
        write!(f, "{}:{}", row.map_or("", |row| row.1), hex(&self.value))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, digits) = text.split_once(':').ok_or("malformed digest")?;
        let row = ALGORITHMS.iter().find(|row| row.1 == name);
        let (algorithm, _, length) = row.ok_or("digest algorithm unknown or not supported")?;
        let value = from_hex(digits)
            .filter(|value| value.len() == *length)
            .ok_or("malformed digest")?;
        Ok(Self {
            algorithm: *algorithm,
            value,
        })
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |pair: &[u8; 2]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let [high, low] = *pair;
        let value = digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?;
        u8::try_from(value).ok()
    };
    pairs.iter().map(byte).collect()
}

/// Digest of the header's part that signatures cover: launch line, magic, version and UUID.
pub(super) fn of_header(header: &[u8; HEADER_LEN], algorithm: Algorithm) -> Vec<u8> {
    of(algorithm, &[header.get(..45), header.get(48..64)])
}

/// Digest of a descriptor's part that signatures cover. Its number is counted from `first`, the
/// smallest one of the group, so that a group may be moved as a whole.
pub(super) fn of_descriptor(slot: &Slot, id: u32, first: u32, algorithm: Algorithm) -> Vec<u8> {
    let relative = id.wrapping_sub(first).to_le_bytes();
    of(
        algorithm,
        &[
            slot.get(..5), // type, in use
            Some(relative.as_slice()),
            slot.get(13..17),  // link
            slot.get(25..33),  // size
            slot.get(41..49),  // time of creation
            slot.get(57..585), // owners, name, what the type adds
        ],
    )
}

fn of(algorithm: Algorithm, parts: &[Option<&[u8]>]) -> Vec<u8> {
    // Only reading fails, and nothing is read.
    hash(algorithm, &mut |take| {
        parts.iter().flatten().for_each(|part| take(part));
        Ok(())
    })
    .unwrap_or_default()
}
