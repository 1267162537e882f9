//! `gocryptfs.conf`: the master key, sealed with a key that scrypt makes of the passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::GocryptfsError;
use super::content::{ContentKey, Gcm, KEY_LEN, OVERHEAD};
use crate::crypt::fill_random;

/// The only version that was written in the last ten years.
const VERSION: u32 = 2;

/// Features that the content must have, and may have.
const NEEDED: [&str; 2] = ["HKDF", "GCMIV128"];
const KNOWN: [&str; 3] = ["HKDF", "GCMIV128", "PlaintextNames"];

/// What scrypt costs in images: 64 MiB.
const LOG_N: u8 = 16;
const R: u32 = 8;
const P: u32 = 1;

/// The most that it may cost: 1 GiB of memory, and sixteen times the usual work.
const MEMORY_MAX: u64 = 1 << 30;
const WORK_MAX: u64 = 1 << 23;

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    #[serde(default)]
    creator: String,
    encrypted_key: String,
    scrypt_object: Scrypt,
    version: u32,
    #[serde(default)]
    feature_flags: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scrypt {
    salt: String,
    n: u64,
    r: u32,
    p: u32,
    key_len: usize,
}

fn wrong(text: impl Into<String>) -> GocryptfsError {
    GocryptfsError::Config(text.into())
}

impl Config {
    /// Reads the file.
    pub(super) fn parse(text: &[u8]) -> Result<Self, GocryptfsError> {
        let config: Self =
            serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        if config.version != VERSION {
            return Err(wrong(format!("version {} is not known", config.version)));
        }
        let has = |flag: &str| config.feature_flags.iter().any(|it| it == flag);
        if let Some(missing) = NEEDED.iter().find(|flag| !has(flag)) {
            return Err(wrong(format!("without the feature {missing}")));
        }
        if let Some(other) = config
            .feature_flags
            .iter()
            .find(|flag| !KNOWN.contains(&flag.as_str()))
        {
            return Err(wrong(format!("the feature {other} is not known")));
        }
        Ok(config)
    }

    /// A new file for `secret`, and the key of the content that goes with it.
    pub(super) fn create(secret: &[u8]) -> Result<(Self, ContentKey), GocryptfsError> {
        let mut salt = [0; 32];
        let mut master = [0; KEY_LEN];
        fill_random(&mut salt)?;
        fill_random(&mut master)?;
        let mut config = Self {
            creator: concat!("skiff ", env!("CARGO_PKG_VERSION")).to_owned(),
            encrypted_key: String::new(),
            scrypt_object: Scrypt {
                salt: STANDARD.encode(salt),
                n: 1 << LOG_N,
                r: R,
                p: P,
                key_len: KEY_LEN,
            },
            version: VERSION,
            feature_flags: KNOWN.map(str::to_owned).to_vec(),
        };
        let mut sealed = Vec::new();
        config
            .lid(secret)?
            .seal(0, &[], &master, &mut sealed)
            .map_err(GocryptfsError::Io)?;
        config.encrypted_key = STANDARD.encode(sealed);
        Ok((config, ContentKey::of_master(&master)))
    }

    /// The file's text.
    pub(super) fn text(&self) -> Result<Vec<u8>, GocryptfsError> {
        serde_json::to_vec_pretty(self).map_err(|error| wrong(error.to_string()))
    }

    /// The key of the content, for whoever knows the secret.
    pub(super) fn unlock(&self, secret: &[u8]) -> Result<ContentKey, GocryptfsError> {
        let mut block = STANDARD
            .decode(&self.encrypted_key)
            .map_err(|error| wrong(format!("EncryptedKey: {error}")))?;
        if block.len() != KEY_LEN.saturating_add(OVERHEAD) {
            return Err(wrong("EncryptedKey has another length"));
        }
        let master = self
            .lid(secret)?
            .open(0, &[], &mut block)
            .ok_or(GocryptfsError::Password)?;
        Ok(ContentKey::of_master(master))
    }

    /// What the master key is sealed with.
    fn lid(&self, secret: &[u8]) -> Result<Gcm, GocryptfsError> {
        let Scrypt {
            salt,
            n,
            r,
            p,
            key_len,
        } = &self.scrypt_object;
        let memory = n.saturating_mul(u64::from(*r)).saturating_mul(128);
        let work = n
            .saturating_mul(u64::from(*r))
            .saturating_mul(u64::from(*p));
        if memory > MEMORY_MAX || work > WORK_MAX || *key_len != KEY_LEN || !n.is_power_of_two() {
            return Err(wrong("the parameters of scrypt are out of range"));
        }
        let log_n = u8::try_from(n.ilog2()).unwrap_or(u8::MAX);
        let salt = STANDARD
            .decode(salt)
            .map_err(|error| wrong(format!("Salt: {error}")))?;
        let params = scrypt::Params::new(log_n, *r, *p, KEY_LEN)
            .map_err(|_| wrong("the parameters of scrypt are out of range"))?;
        let mut key = [0; KEY_LEN];
        scrypt::scrypt(secret, &salt, &params, &mut key)
            .map_err(|_| wrong("the parameters of scrypt are out of range"))?;
        Ok(Gcm::new(&ContentKey::of_master(&key)))
    }
}
