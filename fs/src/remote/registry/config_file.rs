//! Files of credentials in docker's format, which podman's `auth.json` and Apptainer's
//! `docker-config.json` share.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::super::error::RemoteError;
use super::super::options::RemoteOptions;
use super::is_docker_hub;

/// Who we are for a registry.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) enum Credentials {
    /// User name and password.
    Password { username: String, password: String },
    /// A token that only the registry's token server takes.
    Identity { token: String },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Identity { .. } => "Identity",
        })
    }
}

/// What matters of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    auths: HashMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

/// Tokens and passwords are nobody's business.
impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Auth")
    }
}

impl ConfigFile {
    /// Reads a file; none if it is not there, or if it is closed to us and was not `named`.
    pub(super) fn read(path: &Path, named: bool) -> Result<Option<Self>, RemoteError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if is_absent(&error, named) => return Ok(None),
            Err(error) => return Err(unusable(path, error.to_string())),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        // serde's text tells line and column, never the content.
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| unusable(path, error.to_string()))
    }

    /// The credentials for a repository or any part of its path that leads there, most specific
    /// first.
    pub(super) fn credentials(&self, registry: &str, repository: &str) -> Option<Credentials> {
        scopes(registry, repository).into_iter().find_map(|scope| {
            let exact = self.auths.get(&scope);
            let found = exact.or_else(|| {
                let mut named = self.auths.iter().filter(|(key, _)| plain_key(key) == scope);
                named.next().map(|(_, auth)| auth)
            });
            found.and_then(Auth::credentials)
        })
    }

    /// The helper for a registry in particular.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        self.helpers
            .get(registry)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    /// The helper for all registries.
    pub(super) fn store(&self) -> Option<&str> {
        self.store.as_deref().filter(|name| !name.is_empty())
    }
}

/// Whether a file that cannot be read is as good as none. A home directory may be closed to who runs
/// this, as root finds on a network file system; a file that the user named must be read.
pub(super) fn is_absent(error: &io::Error, named: bool) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::PermissionDenied => !named,
        _ => false,
    }
}

impl Auth {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identity_token.is_empty() {
            return Some(Credentials::Identity {
                token: self.identity_token.clone(),
            });
        }
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let bytes = STANDARD.decode(self.auth.trim());
            let bytes = bytes
                .or_else(|_| STANDARD_NO_PAD.decode(self.auth.trim()))
                .ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (username, password) = text.split_once(':')?;
            // Some tools end the password with a zero byte.
            (
                username.to_owned(),
                password.trim_end_matches('\0').to_owned(),
            )
        };
        (!username.is_empty()).then_some(Credentials::Password { username, password })
    }
}

/// `host/a/b`, `host/a`, `host`; Docker Hub goes by another name in these files.
fn scopes(registry: &str, repository: &str) -> Vec<String> {
    let mut scopes = Vec::new();
    let mut path = repository;
    loop {
        if !path.is_empty() {
            scopes.push(format!("{registry}/{path}"));
        }
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => break,
        }
    }
    scopes.push(registry.to_owned());
    if is_docker_hub(registry) {
        scopes.extend(["docker.io", "index.docker.io"].map(str::to_owned));
    }
    scopes
}

/// A key without scheme and version: old versions of docker wrote `https://host/v1/`.
pub(in super::super) fn plain_key(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key)
}

/// The key under which docker and Apptainer keep a registry.
pub(in super::super) fn key(registry: &str) -> &str {
    if is_docker_hub(registry) {
        "https://index.docker.io/v1/"
    } else {
        registry
    }
}

/// The files that are looked at, in this order.
pub(super) fn files(options: &RemoteOptions) -> Vec<PathBuf> {
    let places = &options.places;
    let within = |directory: &Option<PathBuf>, name| directory.as_ref().map(|it| it.join(name));
    [
        options.authfile.clone(),
        within(&places.apptainer, "docker-config.json"),
        within(&places.runtime_containers, "auth.json"),
        within(&places.user_containers, "auth.json"),
        within(&places.docker, "config.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(in super::super) fn unusable(path: &Path, reason: String) -> RemoteError {
    RemoteError::Configuration {
        file: path.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, registry: &str, repository: &str) -> Option<String> {
        let file: ConfigFile = serde_json::from_str(json).unwrap();
        file.credentials(registry, repository)
            .map(|found| match found {
                Credentials::Password { username, password } => format!("{username}:{password}"),
                Credentials::Identity { token } => format!("token {token}"),
            })
    }

    #[test]
    fn the_most_specific_path_wins() {
        // a:1 b:2 c:3
        let json = r#"{"auths": {"reg": {"auth": "YTox"}, "reg/lab": {"auth": "Yjoy"},
            "reg/lab/py": {"username": "c", "password": "3"}, "reg:5000": {}}, "other": 1}"#;
        assert_eq!(find(json, "reg", "x").as_deref(), Some("a:1"));
        assert_eq!(find(json, "reg", "lab/x").as_deref(), Some("b:2"));
        assert_eq!(find(json, "reg", "lab/py").as_deref(), Some("c:3"));
        assert_eq!(find(json, "reg", "laboratory").as_deref(), Some("a:1"));
        assert_eq!(find(json, "reg:5000", "x"), None);
        assert_eq!(find(json, "registry", "x"), None);
    }

    #[test]
    fn old_keys_the_hub_and_identity_tokens() {
        let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTox"},
            "https://old.example/v2/": {"auth": "Yjoy"}, "id": {"identitytoken": "t", "auth": "YTox"}}}"#;
        assert_eq!(find(json, "docker.io", "library/x").as_deref(), Some("a:1"));
        assert_eq!(find(json, "old.example", "x").as_deref(), Some("b:2"));
        assert_eq!(find(json, "id", "x").as_deref(), Some("token t"));
        assert_eq!(
            find(r#"{"auths": {"reg": {"auth": "???"}}}"#, "reg", "x"),
            None
        );
    }

    #[test]
    fn a_damaged_file_is_named_and_its_content_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.json");
        assert!(ConfigFile::read(&path, true).unwrap().is_none());
        fs::write(&path, r#"{"auths": {"reg": {"auth": secret}}}"#).unwrap();
        let error = ConfigFile::read(&path, true).unwrap_err().to_string();
        assert!(
            error.contains("auth.json") && !error.contains("secret"),
            "{error}"
        );
        fs::write(&path, "\n").unwrap();
        assert!(ConfigFile::read(&path, true).unwrap().is_none());
    }
}
