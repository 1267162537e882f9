//! The front of a registry: manifests, blobs, and a server of tokens that do not last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::content::Content;
use super::request::{Answer, Request};
use super::server::Handler;
use crate::program::hex;

/// The type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with SIFs in it.
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
    issued: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    manifests: BTreeMap<(String, String), Vec<u8>>,
    blobs: BTreeMap<String, Content>,
    door: Option<Door>,
    tokens: BTreeMap<String, Instant>,
    elsewhere: Option<Elsewhere>,
    /// What is said of a tag to those who only ask for its digest.
    lies: BTreeMap<(String, String), String>,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where tokens are given out: this registry's own URL.
    pub realm: String,
    /// How long a token is good.
    pub lifetime: Duration,
    /// What clients are told about that.
    pub told_lifetime: Option<u64>,
    /// Name and password that it takes; without, everybody gets a token.
    pub login: Option<(String, String)>,
}

/// Where blobs really are.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// URL of a [`super::site::Store`] that has the blobs under `/DIGEST`.
    pub store: String,
    /// How long an address there is good.
    pub lifetime: Duration,
}

impl Registry {
    /// Says another digest of a tag than its manifest has, to those who do not ask for that.
    pub fn lie(&self, repository: &str, tag: &str, digest: &str) {
        let key = (repository.to_owned(), tag.to_owned());
        self.lock().lies.insert(key, digest.to_owned());
    }

    /// An empty one that lets everybody in.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a SIF as `repository:tag`, as `apptainer push` does. Returns its digest.
    ///
    /// # Panics
    /// When the content cannot be read.
    pub fn push(&self, repository: &str, tag: &str, sif: &Content) -> String {
        let config = Content::memory("{}");
        let digests = [&config, sif].map(|content| {
            let bytes = content.read_all().expect("the content is there");
            format!("sha256:{}", hex(&Sha256::digest(bytes)))
        });
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.sylabs.sif.config.v1+json",
                "digest": digests[0], "size": config.size,
            },
            "layers": [{
                "mediaType": "application/vnd.sylabs.sif.layer.v1.sif",
                "digest": digests[1], "size": sif.size,
                "annotations": {"org.opencontainers.image.title": "image.sif"},
            }],
        });
        let manifest = manifest.to_string().into_bytes();
        let own = format!("sha256:{}", hex(&Sha256::digest(&manifest)));
        let mut state = self.lock();
        for name in [tag, &own] {
            let key = (repository.to_owned(), name.to_owned());
            state.manifests.insert(key, manifest.clone());
        }
        let [config_digest, digest] = digests;
        state.blobs.insert(config_digest, config);
        state.blobs.insert(digest.clone(), sif.clone());
        digest
    }

    /// Adds the only image of the layout in `folder` as `repository:tag`. Returns the digest of its
    /// manifest.
    ///
    /// # Panics
    /// When the layout cannot be read.
    pub fn add_layout(&self, repository: &str, tag: &str, folder: &std::path::Path) -> String {
        let index = std::fs::read(folder.join("index.json")).expect("a layout");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
        let own = index["manifests"][0]["digest"].as_str().expect("a digest");
        let mut state = self.lock();
        let blobs = folder.join("blobs/sha256");
        for entry in std::fs::read_dir(&blobs).expect("blobs").flatten() {
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy());
            if digest == own {
                let bytes = std::fs::read(entry.path()).expect("readable");
                for name in [tag, own] {
                    let key = (repository.to_owned(), name.to_owned());
                    state.manifests.insert(key, bytes.clone());
                }
            } else {
                let content = Content::file(&entry.path()).expect("readable");
                state.blobs.insert(digest, content);
            }
        }
        own.to_owned()
    }

    /// Lets only those in who have a token.
    pub fn close(&self, door: Door) {
        self.lock().door = Some(door);
    }

    /// Sends those who want blobs elsewhere.
    pub fn send_away(&self, elsewhere: Elsewhere) {
        self.lock().elsewhere = Some(elsewhere);
    }

    /// Forgets all tokens given out so far.
    pub fn revoke(&self) {
        self.lock().tokens.clear();
    }

    /// How many tokens were given out.
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    fn token(&self, request: &Request, door: &Door) -> Answer {
        let asked = request.header("authorization");
        let wanted = door.login.as_ref().map(|(name, password)| {
            format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
        });
        if wanted.is_some() && wanted.as_deref() != asked {
            return Answer::text(401, "who are you?");
        }
        let token = format!("token-{}", self.issued.fetch_add(1, Ordering::Relaxed) + 1);
        let until = Instant::now() + door.lifetime;
        self.lock().tokens.insert(token.clone(), until);
        let mut answer = serde_json::json!({"token": token, "access_token": token});
        if let Some(told) = door.told_lifetime {
            answer["expires_in"] = told.into();
        }
        Answer::document("application/json", answer.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Registry {
    fn answer(&self, request: &Request) -> Answer {
        let door = self.lock().door.clone();
        if request.path == "/token"
            && let Some(door) = &door
        {
            return self.token(request, door);
        }
        let state = self.lock();
        let Some((repository, kind, name)) = split(&request.path) else {
            return match (request.path.as_str(), door) {
                ("/v2/" | "/v2", None) => Answer::document("application/json", "{}"),
                ("/v2/" | "/v2", Some(door)) => challenge(&door, None),
                _ => Answer::text(404, "no such place"),
            };
        };
        if let Some(door) = &door {
            let token = request
                .header("authorization")
                .and_then(|value| value.strip_prefix("Bearer "));
            let good = token
                .and_then(|token| state.tokens.get(token))
                .is_some_and(|until| *until > Instant::now());
            if !good {
                return challenge(door, Some(repository));
            }
        }
        match kind {
            "manifests" => {
                let key = (repository.to_owned(), name.to_owned());
                match state.manifests.get(&key) {
                    None => unknown("MANIFEST_UNKNOWN"),
                    Some(bytes) => {
                        let digest = format!("sha256:{}", hex(&Sha256::digest(bytes)));
                        let lie = state.lies.get(&key).filter(|_| request.method == "HEAD");
                        let digest = lie.cloned().unwrap_or(digest);
                        Answer::document(MANIFEST, bytes.clone())
                            .with("Docker-Content-Digest", digest)
                    }
                }
            }
            _ => match (state.blobs.get(name), &state.elsewhere) {
                (None, _) => unknown("BLOB_UNKNOWN"),
                (Some(_), Some(there)) => {
                    let until = super::site::now() + there.lifetime.as_millis();
                    Answer::redirect(&format!("{}/{name}?until={until}", there.store))
                }
                (Some(content), None) => content.answer(request),
            },
        }
    }
}

/// `/v2/REPOSITORY/KIND/NAME`.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    let (rest, name) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
    let (repository, kind) = rest.rsplit_once('/')?;
    matches!(kind, "manifests" | "blobs").then_some((repository, kind, name))
}

fn challenge(door: &Door, repository: Option<&str>) -> Answer {
    let scope = repository.map_or_else(String::new, |name| {
        format!(",scope=\"repository:{name}:pull\"")
    });
    let value = format!("Bearer realm=\"{}\",service=\"tests\"{scope}", door.realm);
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    let mut answer = Answer::document("application/json", body);
    answer.status = 401;
    answer.with("WWW-Authenticate", value)
}

fn unknown(code: &str) -> Answer {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"unknown"}}]}}"#);
    let mut answer = Answer::document("application/json", body);
    answer.status = 404;
    answer
}
