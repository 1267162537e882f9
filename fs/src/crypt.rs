//! Keys of encrypted images: RSA keys in PEM files, and the message in a SIF that carries the
//! secret for whoever has the private key.
//!
//! ```text
//! --passphrase ──────────────────────────────────► secret ─► scrypt ─► keys of the file system
//! --pem-path ─ private key ─ message in the SIF ──►
//! ```

mod message;
mod pem;
mod random;
#[cfg(test)]
mod tests;

pub use random::fill as fill_random;

use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file holds no block of PEM.
    #[error("could not read {name}: no PEM data")]
    NoPem {
        /// The file.
        name: String,
    },
    /// The key itself is protected.
    #[error("passphrase protected pem files not supported")]
    Protected,
    /// A private key in the container format of PKCS #8.
    #[error(
        "x509: failed to parse private key (use ParsePKCS8PrivateKey instead for this key format)"
    )]
    Pkcs8,
    /// A public key in the container format of X.509.
    #[error(
        "x509: failed to parse public key (use ParsePKIXPublicKey instead for this key format)"
    )]
    Pkix,
    /// Something else.
    #[error("asn1: structure error: this is no RSA {wanted} key (PKCS #1)")]
    NotRsa {
        /// Which half of a key was looked for.
        wanted: &'static str,
    },
    /// The message is none.
    #[error("could not unpack LUKS PEM from SIF")]
    Message,
    /// The message is for another key.
    #[error("could not decrypt LUKS key: crypto/rsa: decryption error")]
    Decryption,
    /// The key is too short for the secret.
    #[error("could not encrypt the key of the image: the RSA key of {bits} bits is too short")]
    TooShort {
        /// Its length.
        bits: usize,
    },
    /// The system has no random numbers.
    #[error("random numbers")]
    Random(#[from] std::io::Error),
}

/// A private RSA key.
#[derive(Clone, Debug)]
pub struct PrivateKey(RsaPrivateKey);

/// A public RSA key.
#[derive(Clone, Debug)]
pub struct PublicKey(RsaPublicKey);

impl PrivateKey {
    /// Takes the first block of the PEM file `text`; `name` is for messages.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(text: &[u8], name: &str) -> Result<Self, KeyError> {
        let der = der_of(text, name)?;
        match RsaPrivateKey::from_pkcs1_der(&der) {
            Ok(key) => Ok(Self(key)),
            Err(_) if is_container(&der) => Err(KeyError::Pkcs8),
            Err(_) => Err(KeyError::NotRsa { wanted: "private" }),
        }
    }

    /// The secret in the message `text` of a SIF.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn open(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let sealed = message::parse(text).ok_or(KeyError::Message)?;
        let size = self.0.size();
        if sealed.is_empty() || sealed.len().checked_rem(size) != Some(0) {
            return Err(KeyError::Decryption);
        }
        let mut secret = Vec::new();
        for chunk in sealed.chunks(size) {
            let opened = self.0.decrypt(message::padding(), chunk);
            secret.extend(opened.map_err(|_| KeyError::Decryption)?);
        }
        Ok(secret)
    }
}

impl PublicKey {
    /// Takes the first block of the PEM file `text`; `name` is for messages.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(text: &[u8], name: &str) -> Result<Self, KeyError> {
        let der = der_of(text, name)?;
        match RsaPublicKey::from_pkcs1_der(&der) {
            Ok(key) => Ok(Self(key)),
            Err(_) if is_x509(&der) => Err(KeyError::Pkix),
            Err(_) => Err(KeyError::NotRsa { wanted: "public" }),
        }
    }

    /// The message that tells `secret` to whoever has the private key.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn seal(&self, secret: &[u8]) -> Result<String, KeyError> {
        let too_short = || KeyError::TooShort {
            bits: self.0.size().saturating_mul(8),
        };
        let step = message::chunk_len(self.0.size()).ok_or_else(too_short)?;
        let mut sealed = Vec::new();
        for chunk in secret.chunks(step) {
            let mut random = random::System;
            let chunk = self.0.encrypt(&mut random, message::padding(), chunk);
            sealed.extend(chunk.map_err(|_| too_short())?);
        }
        Ok(message::format(&sealed))
    }
}

fn der_of(text: &[u8], name: &str) -> Result<Vec<u8>, KeyError> {
    let block = pem::first(text).ok_or_else(|| KeyError::NoPem {
        name: name.to_owned(),
    })?;
    if block.protected {
        return Err(KeyError::Protected);
    }
    Ok(block.bytes)
}

/// Whether `der` looks like PKCS #8: SEQUENCE { INTEGER, SEQUENCE { OBJECT IDENTIFIER …
fn is_container(der: &[u8]) -> bool {
    let inside = der::enter(der, der::SEQUENCE);
    let behind = inside.and_then(|inside| der::skip(inside, der::INTEGER));
    behind
        .and_then(|rest| der::enter(rest, der::SEQUENCE))
        .is_some_and(|rest| rest.first() == Some(&der::OBJECT_IDENTIFIER))
}

/// Whether `der` looks like a key of X.509: SEQUENCE { SEQUENCE { OBJECT IDENTIFIER …
fn is_x509(der: &[u8]) -> bool {
    der::enter(der, der::SEQUENCE)
        .and_then(|rest| der::enter(rest, der::SEQUENCE))
        .is_some_and(|rest| rest.first() == Some(&der::OBJECT_IDENTIFIER))
}

/// As much of DER as tells kinds of keys apart.
mod der {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const SEQUENCE: u8 = 0x30;

    /// Content of the element at the start of `bytes`, if it has this tag, and what follows it.
    fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (found, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7F => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                let len = digits
                    .iter()
                    .fold(0_usize, |len, digit| len << 8 | usize::from(*digit));
                (len, rest)
            }
            _ => return None,
        };
        (*found == tag).then(|| rest.split_at_checked(len))?
    }

    pub(super) fn enter(bytes: &[u8], tag: u8) -> Option<&[u8]> {
        Some(element(bytes, tag)?.0)
    }

    pub(super) fn skip(bytes: &[u8], tag: u8) -> Option<&[u8]> {
        Some(element(bytes, tag)?.1)
    }

    /// The element with this tag and content.
    pub(super) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let mut bytes = vec![tag];
        match u8::try_from(len) {
            Ok(len @ 0..=0x7F) => bytes.push(len),
            _ => {
                let digits = len.to_be_bytes();
                let digits = digits.iter().skip_while(|digit| **digit == 0);
                let digits: Vec<u8> = digits.copied().collect();
                bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
                bytes.extend(digits);
            }
        }
        bytes.extend_from_slice(content);
        bytes
    }
}
