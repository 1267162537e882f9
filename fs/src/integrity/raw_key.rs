//! Keys that are not OpenPGP's: RSA, ECDSA and Ed25519, in PEM files.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, Verifier as _};
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _};
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest as _, Sha256};

/// Bytes of a number below the order of P-521's group.
const P521_LEN: usize = 66;

/// Why a key cannot be used; in Apptainer's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The file has no PEM block.
    #[error("PEM decoding failed")]
    Pem,
    /// The block is no public key.
    #[error("unknown Public key PEM file type: {0}. Are you passing the correct public key?")]
    NotPublic(String),
    /// The block is no private key.
    #[error("unknown private key PEM file type: {0}")]
    NotPrivate(String),
    /// The block's content is no key that is known here.
    #[error(
        "key of an unknown kind: RSA, ECDSA (P-256, P-384, P-521) and Ed25519 keys are supported"
    )]
    Kind,
    /// The key cannot sign.
    #[error("signing failed: {0}")]
    Sign(String),
}

/// The blocks of a PEM file: what they are and their content.
pub fn pem_blocks(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(text);
    let mut blocks = Vec::new();
    let mut rest: &str = &text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        rest = after;
        let Some((label, body)) = after.split_once("-----") else {
            break;
        };
        let Some((body, after)) = body.split_once(&format!("-----END {label}-----")) else {
            continue;
        };
        // Headers, as of encrypted keys, end at an empty line.
        let body = match body.split_once("\n\n") {
            Some((headers, body)) if headers.contains(':') => body,
            _ => body,
        };
        let digits: String = body.split_ascii_whitespace().collect();
        if let Ok(content) = STANDARD.decode(digits) {
            blocks.push((label.to_owned(), content));
        }
        rest = after;
    }
    blocks
}

/// A public key.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublicKey),
    /// ECDSA on P-256.
    P256(p256::ecdsa::VerifyingKey),
    /// ECDSA on P-384.
    P384(p384::ecdsa::VerifyingKey),
    /// ECDSA on P-521.
    P521(Box<P521Public>),
    /// Ed25519.
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
}

/// ECDSA on P-521.
#[derive(Clone)]
pub struct P521Public(p521::ecdsa::VerifyingKey);

impl std::fmt::Debug for P521Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P521Public")
    }
}

impl PublicKey {
    /// Reads the first block of a PEM file.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let (label, content) = pem_blocks(text).into_iter().next().ok_or(KeyError::Pem)?;
        match label.as_str() {
            "PUBLIC KEY" => Self::from_spki(&content),
            "RSA PUBLIC KEY" => RsaPublicKey::from_pkcs1_der(&content)
                .map(Self::Rsa)
                .map_err(|_| KeyError::Kind),
            _ => Err(KeyError::NotPublic(label)),
        }
    }

    /// Reads a DER-encoded `SubjectPublicKeyInfo`, as it stands in certificates too.
    ///
    /// # Errors
    /// [`KeyError::Kind`]
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = RsaPublicKey::from_public_key_der(der) {
            return Ok(Self::Rsa(key));
        }
        if let Ok(key) = p256::PublicKey::from_public_key_der(der) {
            return Ok(Self::P256(key.into()));
        }
        if let Ok(key) = p384::PublicKey::from_public_key_der(der) {
            return Ok(Self::P384(key.into()));
        }
        if let Ok(key) = p521::PublicKey::from_public_key_der(der) {
            let key = p521::ecdsa::VerifyingKey::from_affine(*key.as_affine())
                .map_err(|_| KeyError::Kind)?;
            return Ok(Self::P521(Box::new(P521Public(key))));
        }
        ed25519_dalek::VerifyingKey::from_public_key_der(der)
            .map(|key| Self::Ed25519(Box::new(key)))
            .map_err(|_| KeyError::Kind)
    }

    /// Whether `signature` is one of `message` by this key; SHA-256 is the digest.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let digest = Sha256::digest(message);
        match self {
            Self::Rsa(key) => key
                .verify(Pkcs1v15Sign::new::<rsa::sha2::Sha256>(), &digest, signature)
                .is_ok(),
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.0.verify_prehash(&widen(&digest), &signature).is_ok()),
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }

    /// The fingerprint that OpenSSH shows, by which signatures name the key.
    pub fn id(&self) -> String {
        let mut wire = Vec::new();
        let mut put = |field: &[u8]| {
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            wire.extend_from_slice(&length.to_be_bytes());
            wire.extend_from_slice(field);
        };
        let mut curve = |name: &str, point: &[u8]| {
            put(format!("ecdsa-sha2-{name}").as_bytes());
            put(name.as_bytes());
            put(point);
        };
        match self {
            Self::P256(key) => curve("nistp256", key.to_encoded_point(false).as_bytes()),
            Self::P384(key) => curve("nistp384", key.to_encoded_point(false).as_bytes()),
            Self::P521(key) => curve("nistp521", key.0.to_encoded_point(false).as_bytes()),
            Self::Rsa(key) => {
                put(b"ssh-rsa");
                put(&signed(key.e().to_bytes_be()));
                put(&signed(key.n().to_bytes_be()));
            }
            Self::Ed25519(key) => {
                put(b"ssh-ed25519");
                put(key.as_bytes());
            }
        }
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&wire)))
    }
}

/// A number whose first bit is not to be taken for a sign.
fn signed(mut number: Vec<u8>) -> Vec<u8> {
    if number.first().is_some_and(|first| first & 0x80 != 0) {
        number.insert(0, 0);
    }
    number
}

/// A digest as a number of the length that P-521 wants.
fn widen(digest: &[u8]) -> Vec<u8> {
    let mut wide = vec![0; P521_LEN.saturating_sub(digest.len())];
    wide.extend_from_slice(digest);
    wide
}

/// A private key.
pub enum PrivateKey {
    /// RSA.
    Rsa(Box<RsaPrivateKey>),
    /// ECDSA on P-256.
    P256(Box<p256::ecdsa::SigningKey>),
    /// ECDSA on P-384.
    P384(Box<p384::ecdsa::SigningKey>),
    /// ECDSA on P-521.
    P521(Box<p521::ecdsa::SigningKey>),
    /// Ed25519.
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// Reads the first block of a PEM file.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let (label, content) = pem_blocks(text).into_iter().next().ok_or(KeyError::Pem)?;
        let unknown = KeyError::Kind;
        match label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(&content),
            "RSA PRIVATE KEY" => RsaPrivateKey::from_pkcs1_der(&content)
                .map(|key| Self::Rsa(Box::new(key)))
                .map_err(|_| unknown),
            "EC PRIVATE KEY" => {
                if let Ok(key) = p256::SecretKey::from_sec1_der(&content) {
                    return Ok(Self::P256(Box::new(key.into())));
                }
                if let Ok(key) = p384::SecretKey::from_sec1_der(&content) {
                    return Ok(Self::P384(Box::new(key.into())));
                }
                p521::SecretKey::from_sec1_der(&content)
                    .map_err(|_| unknown)
                    .and_then(|key| Self::p521(&key))
            }
            _ => Err(KeyError::NotPrivate(label)),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = RsaPrivateKey::from_pkcs8_der(der) {
            return Ok(Self::Rsa(Box::new(key)));
        }
        if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
            return Ok(Self::P256(Box::new(key.into())));
        }
        if let Ok(key) = p384::SecretKey::from_pkcs8_der(der) {
            return Ok(Self::P384(Box::new(key.into())));
        }
        if let Ok(key) = p521::SecretKey::from_pkcs8_der(der) {
            return Self::p521(&key);
        }
        ed25519_dalek::SigningKey::from_pkcs8_der(der)
            .map(|key| Self::Ed25519(Box::new(key)))
            .map_err(|_| KeyError::Kind)
    }

    fn p521(key: &p521::SecretKey) -> Result<Self, KeyError> {
        p521::ecdsa::SigningKey::from_slice(&key.to_bytes())
            .map(|key| Self::P521(Box::new(key)))
            .map_err(|_| KeyError::Kind)
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Rsa(key) => PublicKey::Rsa(key.to_public_key()),
            Self::P256(key) => PublicKey::P256(*key.verifying_key()),
            Self::P384(key) => PublicKey::P384(*key.verifying_key()),
            Self::P521(key) => PublicKey::P521(Box::new(P521Public(
                p521::ecdsa::VerifyingKey::from(&**key),
            ))),
            Self::Ed25519(key) => PublicKey::Ed25519(Box::new(key.verifying_key())),
        }
    }

    /// Signs `message`; SHA-256 is the digest.
    ///
    /// # Errors
    /// [`KeyError::Sign`]
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let digest = Sha256::digest(message);
        let failed = |error: &dyn std::fmt::Display| KeyError::Sign(error.to_string());
        match self {
            Self::Rsa(key) => key
                .sign_with_rng(
                    &mut rsa::rand_core::OsRng,
                    Pkcs1v15Sign::new::<rsa::sha2::Sha256>(),
                    &digest,
                )
                .map_err(|error| failed(&error)),
            Self::P256(key) => {
                let signature: Result<p256::ecdsa::Signature, _> = key.sign_prehash(&digest);
                signature
                    .map(|signature| signature.to_der().as_bytes().to_vec())
                    .map_err(|error| failed(&error))
            }
            Self::P384(key) => {
                let signature: Result<p384::ecdsa::Signature, _> = key.sign_prehash(&digest);
                signature
                    .map(|signature| signature.to_der().as_bytes().to_vec())
                    .map_err(|error| failed(&error))
            }
            Self::P521(key) => {
                let signature: Result<p521::ecdsa::Signature, _> =
                    key.sign_prehash(&widen(&digest));
                signature
                    .map(|signature| signature.to_der().as_bytes().to_vec())
                    .map_err(|error| failed(&error))
            }
            Self::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
        }
    }
}
