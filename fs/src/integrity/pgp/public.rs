//! A public key with its names and subkeys.

use std::time::SystemTime;

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails as _, PublicParams, Tag};
use rsa::traits::PublicKeyParts as _;

use super::Fingerprint;

/// A user id, taken apart: `Name (Comment) <Email>`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserId {
    /// As it stands in the key.
    pub whole: String,
    /// What stands first.
    pub name: String,
    /// What stands in round brackets.
    pub comment: String,
    /// What stands in angle brackets.
    pub email: String,
}

impl UserId {
    /// Takes `whole` apart.
    pub fn parse(whole: &str) -> Self {
        let between = |open: char, close: char| {
            let (_, rest) = whole.split_once(open)?;
            rest.split_once(close).map(|(inner, _)| inner)
        };
        let name = whole.split(['(', '<']).next().unwrap_or_default();
        Self {
            whole: whole.to_owned(),
            name: name.trim().to_owned(),
            comment: between('(', ')').unwrap_or_default().trim().to_owned(),
            email: between('<', '>').unwrap_or_default().trim().to_owned(),
        }
    }

    /// Puts one together; parts that are empty are left out.
    pub fn compose(name: &str, comment: &str, email: &str) -> String {
        let mut parts = Vec::new();
        if !name.is_empty() {
            parts.push(name.to_owned());
        }
        if !comment.is_empty() {
            parts.push(format!("({comment})"));
        }
        if !email.is_empty() {
            parts.push(format!("<{email}>"));
        }
        parts.join(" ")
    }
}

/// A public key, whose primary key has a fingerprint of version 4.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub(super) key: SignedPublicKey,
    fingerprint: Fingerprint,
    /// As it was read.
    pub(super) bytes: Vec<u8>,
}

impl PublicKey {
    pub(super) fn new(key: SignedPublicKey, bytes: Vec<u8>) -> Option<Self> {
        let fingerprint = key.primary_key.fingerprint().as_bytes().try_into().ok()?;
        Some(Self {
            key,
            fingerprint,
            bytes,
        })
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

    /// The user id that stands for the key: the one marked as primary, else the first.
    pub fn user(&self) -> UserId {
        let users = &self.key.details.users;
        let user = users.iter().find(|user| user.is_primary());
        let user = user.or(users.first());
        user.map(|user| UserId::parse(&String::from_utf8_lossy(user.id.id())))
            .unwrap_or_default()
    }

    /// When it was made, in Unix seconds.
    pub fn created(&self) -> i64 {
        i64::from(self.key.primary_key.created_at().as_secs())
    }

    /// Its length in bits.
    pub fn bits(&self) -> usize {
        bits(self.key.primary_key.public_params())
    }

    /// Checks `signature` over `text` with whichever of its keys made it and may sign; `None` when
    /// none of them did.
    pub(super) fn verify(&self, signature: &Signature, text: &[u8]) -> Option<Result<(), String>> {
        let made_by = |key: &dyn pgp::types::KeyDetails| {
            let ids = signature.issuer_key_id();
            let prints = signature.issuer_fingerprint();
            ids.iter().any(|id| **id == key.legacy_key_id())
                || prints.iter().any(|print| **print == key.fingerprint())
        };
        let primary = &self.key.primary_key;
        if made_by(primary) {
            if !self.holds() {
                return None;
            }
            let verdict = self.valid_at(signature).and_then(|()| {
                signature
                    .verify(primary, text)
                    .map_err(|_| failure(primary.public_params()))
            });
            return Some(verdict);
        }
        let subkey = self.key.public_subkeys.iter().find(|subkey| {
            made_by(&subkey.key)
                && subkey.verify_bindings(primary).is_ok()
                && latest(binding(subkey)).is_some_and(|bond| bond.key_flags().sign())
        })?;
        if !self.holds() {
            return None;
        }
        let verdict = self.valid_at(signature).and_then(|()| {
            let mut all = subkey.signatures.iter();
            // That they are the primary key's has been checked.
            if all.any(|it| it.typ() == Some(SignatureType::SubkeyRevocation)) {
                return Err("openpgp: signature made by revoked key".to_owned());
            }
            if expired(
                subkey.key.created_at().as_secs(),
                lifetime(latest(binding(subkey))),
            ) {
                return Err("openpgp: key expired".to_owned());
            }
            signature
                .verify(&subkey.key, text)
                .map_err(|_| failure(subkey.key.public_params()))
        });
        Some(verdict)
    }

    /// Whether the key vouches for one of its names and for being used to sign.
    fn holds(&self) -> bool {
        self.key.details.users.iter().any(|user| {
            user.signatures.iter().any(|signature| {
                signature
                    .verify_certification(&self.key.primary_key, Tag::UserId, &user.id)
                    .is_ok()
            })
        })
    }

    /// Whether key and signature count now.
    fn valid_at(&self, signature: &Signature) -> Result<(), String> {
        let primary = &self.key.primary_key;
        let revoked = self.key.details.revocation_signatures.iter();
        if revoked
            .clone()
            .any(|revocation| revocation.verify_key(primary).is_ok())
        {
            return Err("openpgp: signature made by revoked key".to_owned());
        }
        let own = self.key.details.users.iter().flat_map(|user| {
            let all = user.signatures.iter();
            all.filter(|bond| {
                bond.verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
            })
        });
        if expired(primary.created_at().as_secs(), lifetime(latest(own))) {
            return Err("openpgp: key expired".to_owned());
        }
        let made = signature.created().map(pgp::types::Timestamp::as_secs);
        let lasts = signature.signature_expiration_time();
        if let (Some(made), Some(lasts)) = (made, lasts)
            && expired(made, lasts.as_secs())
        {
            return Err("openpgp: signature expired".to_owned());
        }
        Ok(())
    }
}

/// Signatures that bind a subkey.
fn binding(subkey: &SignedPublicSubKey) -> impl Iterator<Item = &Signature> {
    let all = subkey.signatures.iter();
    all.filter(|it| it.typ() == Some(SignatureType::SubkeyBinding))
}

/// What counts of several signatures that say the same: the one made last (RFC 9580, 5.2.3.10).
fn latest<'a>(all: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    all.max_by_key(|it| it.created().map(pgp::types::Timestamp::as_secs))
}

/// Seconds that a signature gives a key; 0 is no end.
fn lifetime(signature: Option<&Signature>) -> u32 {
    let ends = signature.and_then(Signature::key_expiration_time);
    ends.map_or(0, pgp::types::Duration::as_secs)
}

/// Whether `lasts` seconds from `start` are over; 0 is no end.
fn expired(start: u32, lasts: u32) -> bool {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    lasts != 0 && u64::from(start).saturating_add(u64::from(lasts)) < now
}

pub(super) fn users(details: &pgp::composed::SignedKeyDetails) -> Vec<UserId> {
    let users = details.users.iter();
    users
        .map(|user| UserId::parse(&String::from_utf8_lossy(user.id.id())))
        .collect()
}

/// Length of a key in bits.
pub(super) fn bits(params: &PublicParams) -> usize {
    match params {
        PublicParams::RSA(rsa) => rsa.key.size().saturating_mul(8),
        PublicParams::ECDSA(ecdsa) => usize::from(ecdsa.curve().nbits()),
        // With the byte before the point, which starts with 0x40.
        PublicParams::EdDSALegacy(_) => 263,
        PublicParams::Ed25519(_) => 256,
        PublicParams::Ed448(_) => 456,
        _ => 0,
    }
}

fn failure(params: &PublicParams) -> String {
    let kind = match params {
        PublicParams::RSA(_) => "RSA",
        PublicParams::DSA(_) => "DSA",
        PublicParams::ECDSA(_) => "ECDSA",
        PublicParams::EdDSALegacy(_) => "EdDSA",
        PublicParams::Ed25519(_) => "ed25519",
        PublicParams::Ed448(_) => "ed448",
        _ => "signature",
    };
    format!("openpgp: invalid signature: {kind} verification failure")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids() {
        for (whole, name, comment, email) in [
            ("A B (c d) <e@f>", "A B", "c d", "e@f"),
            ("A <e@f>", "A", "", "e@f"),
            ("A", "A", "", ""),
            ("<e@f>", "", "", "e@f"),
            ("A (c)", "A", "c", ""),
            ("", "", "", ""),
        ] {
            let id = UserId::parse(whole);
            assert_eq!(
                (&*id.name, &*id.comment, &*id.email),
                (name, comment, email)
            );
            assert_eq!(UserId::compose(name, comment, email), whole);
        }
    }

    #[test]
    fn lifetimes() {
        assert!(!expired(0, 0));
        assert!(expired(0, 10));
        assert!(!expired(0, u32::MAX));
    }
}
