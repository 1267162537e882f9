//! Secret keys.

use pgp::composed::{
    CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password, Timestamp};
use rsa::rand_core::OsRng;

use super::clearsign::ClearSigned;
use super::public::{PublicKey, UserId, bits, users};
use super::{Fingerprint, PgpError};

/// What a wrong passphrase leads to, in the words of the library that Apptainer uses.
const CHECKSUM: &str = "invalid data: private key checksum failure";

/// Characters that would make a user id mean something else.
const SPECIAL: [char; 5] = ['(', ')', '<', '>', '\0'];

/// Smallest RSA key.
const BITS_MIN: u32 = 1024;

/// Smallest RSA key that is made here.
const BITS_SAFE: u32 = 2048;

/// Bits of a key for which no length is asked.
const BITS_DEFAULT: u32 = 2048;

/// A key to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewKey<'a> {
    /// Whose it is.
    pub name: &'a str,
    /// More about that.
    pub comment: &'a str,
    /// Mail address.
    pub email: &'a str,
    /// Length of the RSA keys; 0 for the usual one.
    pub bits: u32,
    /// What locks it; empty for no lock.
    pub passphrase: &'a str,
}

/// A secret key with its subkeys.
#[derive(Clone, Debug)]
pub struct SecretKey {
    key: SignedSecretKey,
    fingerprint: Fingerprint,
    /// As it was read.
    bytes: Vec<u8>,
}

impl SecretKey {
    pub(super) fn new(key: SignedSecretKey, bytes: Vec<u8>) -> Option<Self> {
        let fingerprint = key.primary_key.fingerprint().as_bytes().try_into().ok()?;
        Some(Self {
            key,
            fingerprint,
            bytes,
        })
    }

    fn from_key(key: SignedSecretKey) -> Result<Self, PgpError> {
        let bytes = key.to_bytes()?;
        Self::new(key, bytes)
            .ok_or_else(|| PgpError::OpenPgp("unsupported version of a key".to_owned()))
    }

    /// Makes a pair of RSA keys: one that signs, one that is encrypted for.
    ///
    /// # Errors
    /// When a part of the user id cannot stand in it, or the length is too small.
    pub fn generate(wish: &NewKey<'_>) -> Result<Self, PgpError> {
        let invalid = |what: &str| PgpError::OpenPgp(format!("invalid argument: {what}"));
        let parts = [wish.name, wish.comment, wish.email];
        if parts.iter().any(|part| part.contains(SPECIAL)) {
            return Err(invalid("user id field contained invalid characters"));
        }
        let bits = match wish.bits {
            0 => BITS_DEFAULT,
            bits if bits < BITS_MIN => return Err(invalid("bits must be >= 1024")),
            bits if bits < BITS_SAFE => {
                return Err(invalid("RSA keys below 2048 bits are not safe any more"));
            }
            bits => bits,
        };
        let refused = |error: &dyn std::fmt::Display| PgpError::OpenPgp(error.to_string());
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Rsa(bits))
            .can_encrypt(EncryptionCaps::All)
            .build()
            .map_err(|error| refused(&error))?;
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Rsa(bits))
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(UserId::compose(wish.name, wish.comment, wish.email))
            .preferred_symmetric_algorithms(
                [SymmetricKeyAlgorithm::AES256, SymmetricKeyAlgorithm::AES128]
                    .into_iter()
                    .collect(),
            )
            .preferred_hash_algorithms(
                [HashAlgorithm::Sha256, HashAlgorithm::Sha512]
                    .into_iter()
                    .collect(),
            )
            .subkey(subkey)
            .build()
            .map_err(|error| refused(&error))?;
        let mut key = params.generate(OsRng)?;
        lock(&mut key, wish.passphrase)?;
        Self::from_key(key)
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key, in the binary form.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whose it is.
    pub fn users(&self) -> Vec<UserId> {
        users(&self.key.details)
    }

    /// When it was made, in Unix seconds.
    pub fn created(&self) -> i64 {
        i64::from(self.key.primary_key.created_at().as_secs())
    }

    /// Its length in bits.
    pub fn bits(&self) -> usize {
        bits(self.key.primary_key.public_params())
    }

    /// Whether it needs a passphrase.
    pub fn is_locked(&self) -> bool {
        self.key.primary_key.secret_params().is_encrypted()
    }

    /// The public key that belongs to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn public(&self) -> Result<PublicKey, PgpError> {
        let key = SignedPublicKey::from(self.key.clone());
        let bytes = key.to_bytes()?;
        PublicKey::new(key, bytes)
            .ok_or_else(|| PgpError::OpenPgp("unsupported version of a key".to_owned()))
    }

    /// The same without a lock.
    ///
    /// # Errors
    /// When the passphrase is wrong.
    pub fn unlocked(&self, passphrase: &str) -> Result<Self, PgpError> {
        if !self.is_locked() {
            return Ok(self.clone());
        }
        let wrong = |_| PgpError::OpenPgp(CHECKSUM.to_owned());
        let password = Password::from(passphrase);
        let mut key = self.key.clone();
        key.primary_key.remove_password(&password).map_err(wrong)?;
        for subkey in &mut key.secret_subkeys {
            subkey.key.remove_password(&password).map_err(wrong)?;
        }
        Self::from_key(key)
    }

    /// The same with a lock; it has none now.
    ///
    /// # Errors
    /// When it has a lock.
    pub fn locked(&self, passphrase: &str) -> Result<Self, PgpError> {
        let mut key = self.key.clone();
        lock(&mut key, passphrase)?;
        Self::from_key(key)
    }

    /// Signs `text` with the primary key, which has no lock, at `time` in Unix seconds.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub(in super::super) fn clear_sign(&self, text: &str, time: u32) -> Result<String, PgpError> {
        let key = &self.key.primary_key;
        let mut config =
            SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha256);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(
                time,
            )))?,
            Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?,
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        ];
        let message = CleartextSignedMessage::new(text, config, key, &Password::empty())?;
        Ok(ClearSigned::new(message).encode()?)
    }
}

fn lock(key: &mut SignedSecretKey, passphrase: &str) -> Result<(), PgpError> {
    if passphrase.is_empty() {
        return Ok(());
    }
    let password = Password::from(passphrase);
    key.primary_key.set_password(OsRng, &password)?;
    for subkey in &mut key.secret_subkeys {
        subkey.key.set_password(OsRng, &password)?;
    }
    Ok(())
}
