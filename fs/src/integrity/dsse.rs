//! The envelope around what a raw key signs: DSSE, as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::raw_key::{KeyError, PrivateKey, PublicKey};

/// What the payload is.
const PAYLOAD_TYPE: &str = "application/vnd.sylabs.sif-metadata+json";

/// Fields stand in the order in which they are written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Reads an envelope; `None` when `bytes` are none, or one for something else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let envelope: Self = serde_json::from_slice(bytes).ok()?;
        (envelope.payload_type == PAYLOAD_TYPE).then_some(envelope)
    }

    /// Signs `payload`.
    pub(super) fn sign(payload: &[u8], key: &PrivateKey) -> Result<String, KeyError> {
        let signature = key.sign(&encoding(PAYLOAD_TYPE, payload))?;
        let envelope = Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature {
                keyid: key.public().id(),
                sig: STANDARD.encode(signature),
            }],
        };
        serde_json::to_string(&envelope).map_err(|error| KeyError::Sign(error.to_string()))
    }

    /// The payload, if one of `keys` signed it.
    ///
    /// # Errors
    /// In the words of the library that Apptainer uses.
    pub(super) fn verify(&self, keys: &[PublicKey]) -> Result<Vec<u8>, String> {
        let payload = STANDARD
            .decode(&self.payload)
            .map_err(|error| format!("dsse: {error}"))?;
        let message = encoding(&self.payload_type, &payload);
        let signed = self.signatures.iter().any(|signature| {
            let Ok(bytes) = STANDARD.decode(&signature.sig) else {
                return false;
            };
            keys.iter().any(|key| {
                (signature.keyid.is_empty() || signature.keyid == key.id())
                    && key.verify(&message, &bytes)
            })
        });
        if signed {
            Ok(payload)
        } else {
            Err(
                "dsse: verify envelope failed: accepted signatures do not match threshold, \
                 Found: 0, Expected 1"
                    .to_owned(),
            )
        }
    }
}

/// What is signed: type and payload with their lengths, so that neither can be taken for the other.
fn encoding(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}
