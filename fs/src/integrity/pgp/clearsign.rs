//! Text with an OpenPGP signature below it.

use pgp::composed::{ArmorOptions, CleartextSignedMessage};
use pgp::crypto::hash::HashAlgorithm;

use super::public::PublicKey;

const START: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

/// Whether `bytes` look like signed text.
pub(in super::super) fn is_clear_signed(bytes: &[u8]) -> bool {
    bytes.starts_with(START.as_bytes())
}

/// Signed text.
#[derive(Debug)]
pub(in super::super) struct ClearSigned {
    message: CleartextSignedMessage,
}

impl ClearSigned {
    pub(super) fn new(message: CleartextSignedMessage) -> Self {
        Self { message }
    }

    /// Reads signed text; `None` when it is none.
    pub(in super::super) fn parse(bytes: &[u8]) -> Option<Self> {
        if !is_clear_signed(bytes) {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let (message, _) = CleartextSignedMessage::from_string(text).ok()?;
        Some(Self { message })
    }

    /// What is signed.
    pub(in super::super) fn text(&self) -> String {
        self.message.signed_text()
    }

    /// The id of the key that is said to have signed.
    pub(in super::super) fn issuer(&self) -> Option<String> {
        let ids = self.message.signatures().iter();
        ids.flat_map(pgp::packet::Signature::issuer_key_id)
            .map(|id| super::super::digest::hex(id.as_ref()))
            .next()
    }

    /// The key out of `keys` that signed.
    ///
    /// # Errors
    /// In the words of the library that Apptainer uses.
    pub(in super::super) fn signer<'a>(
        &self,
        keys: &(impl Iterator<Item = &'a PublicKey> + Clone),
    ) -> Result<&'a PublicKey, String> {
        let text = self.text();
        let mut verdict = Err(super::super::UNKNOWN_ENTITY.to_owned());
        for signature in self.message.signatures() {
            let strong = matches!(
                signature.hash_alg(),
                Some(
                    HashAlgorithm::Sha224
                        | HashAlgorithm::Sha256
                        | HashAlgorithm::Sha384
                        | HashAlgorithm::Sha512
                )
            );
            for key in keys.clone() {
                match key.verify(signature, text.as_bytes()) {
                    Some(Ok(())) if strong => return Ok(key),
                    Some(Ok(())) => {
                        verdict = Err(
                            "openpgp: invalid signature: insecure message hash algorithm"
                                .to_owned(),
                        );
                    }
                    Some(Err(reason)) => verdict = Err(reason),
                    None => {}
                }
            }
        }
        verdict
    }

    /// As it is written, without a line break at the end.
    pub(super) fn encode(&self) -> Result<String, pgp::errors::Error> {
        let options = ArmorOptions {
            headers: None,
            include_checksum: false,
        };
        let text = self.message.to_armored_string(options)?;
        Ok(text.trim_end().to_owned())
    }
}
