//! Logins that are kept: what `registry login`, `logout` and `list` do.
//!
//! They are kept where Apptainer keeps them, so that a login serves both: in `docker-config.json` of
//! its directory, or in docker's own `config.json` if there is one and the former is not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::error::RemoteError;
use super::exchange::judge;
use super::options::RemoteOptions;
use super::reference::{ReferenceError, check_registry};
use super::registry::config_file::{Credentials, key, plain_key, unusable};

/// A login that is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Login {
    /// `host` or `host:port`.
    pub registry: String,
    /// The user name, if the file tells it.
    pub username: Option<String>,
    /// The file that holds it.
    pub file: PathBuf,
}

/// The registry of `docker://HOST` or `oras://HOST`; a login is for a whole registry.
///
/// # Errors
/// Another kind of name.
pub fn registry_of(uri: &str) -> Result<String, ReferenceError> {
    let wrong = |reason| ReferenceError::Name {
        name: uri.to_owned(),
        reason,
    };
    let rest = uri
        .strip_prefix("docker://")
        .or_else(|| uri.strip_prefix("oras://"));
    let host = rest.ok_or_else(|| wrong("write docker://HOST or oras://HOST"))?;
    let host = host.strip_suffix('/').unwrap_or(host);
    if host.contains('/') {
        return Err(wrong(
            "a login is for a registry: no path after the host, please",
        ));
    }
    check_registry(host).map_err(wrong)?;
    Ok(host.to_ascii_lowercase())
}

/// Shows user name and password to a registry, and keeps them if it likes them. Returns the file.
///
/// # Errors
/// A registry that refuses them or cannot be reached; a file that cannot be written.
pub fn login(
    client: &Client,
    registry: &str,
    username: &str,
    password: &str,
) -> Result<PathBuf, RemoteError> {
    client.block_on(client.check_login(registry, username, password))??;
    let path = file(client.options())?;
    let mut config = read(&path)?;
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    let auths = auths
        .as_object_mut()
        .ok_or_else(|| unusable(&path, "auths is no object".to_owned()))?;
    auths.retain(|name, _| plain_key(name) != plain_key(key(registry)));
    let auth = STANDARD.encode(format!("{username}:{password}"));
    auths.insert(key(registry).to_owned(), json!({ "auth": auth }));
    write(&path, &config)?;
    Ok(path)
}

/// Forgets a login. Returns the file, and whether there was anything to forget.
///
/// # Errors
/// A file that cannot be read or written.
pub fn logout(options: &RemoteOptions, registry: &str) -> Result<(PathBuf, bool), RemoteError> {
    let path = file(options)?;
    let mut config = read(&path)?;
    let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else {
        return Ok((path, false));
    };
    let before = auths.len();
    auths.retain(|name, _| plain_key(name) != plain_key(key(registry)));
    let found = auths.len() < before;
    if found {
        write(&path, &config)?;
    }
    Ok((path, found))
}

/// All logins of that file. Entries without a password, as docker leaves them for its credential
/// helpers, are no logins of ours.
///
/// # Errors
/// A file that cannot be read.
pub fn list(options: &RemoteOptions) -> Result<Vec<Login>, RemoteError> {
    let path = file(options)?;
    let config = read(&path)?;
    let auths = config.get("auths").and_then(Value::as_object);
    let mut logins: Vec<Login> = auths
        .into_iter()
        .flatten()
        .filter_map(|(name, auth)| {
            let text = |field| {
                auth.get(field)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            };
            let from_auth = text("auth").and_then(|auth| {
                let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
                Some(text.split_once(':')?.0.to_owned())
            });
            let is_login = ["auth", "username", "identitytoken"]
                .into_iter()
                .any(|field| text(field).is_some());
            is_login.then(|| Login {
                registry: match plain_key(name) {
                    "index.docker.io" => "docker.io".to_owned(),
                    registry => registry.to_owned(),
                },
                username: from_auth.or_else(|| text("username").map(str::to_owned)),
                file: path.clone(),
            })
        })
        .collect();
    logins.sort();
    Ok(logins)
}

impl Client {
    async fn check_login(
        &self,
        registry: &str,
        username: &str,
        password: &str,
    ) -> Result<(), RemoteError> {
        if self.options().offline {
            return Err(RemoteError::Offline {
                name: registry.to_owned(),
            });
        }
        let (username, password) = (username.to_owned(), password.to_owned());
        let roads = self.registry_door(registry, Credentials::Password { username, password })?;
        let mut patience = self.patience(registry, self.options().look_up_for());
        loop {
            let wait = patience.stall();
            let asked = roads.first(self, async |_, road| {
                let reply = judge(
                    self.get(road, &HeaderMap::new(), wait).await?,
                    registry,
                    wait,
                )
                .await?;
                reply.discard(wait).await;
                Ok(())
            });
            match asked.await {
                Ok(()) => return Ok(()),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }
}

/// The file that logins are kept in.
fn file(options: &RemoteOptions) -> Result<PathBuf, RemoteError> {
    if let Some(path) = &options.authfile {
        return Ok(path.clone());
    }
    let own = options
        .places
        .apptainer
        .as_ref()
        .map(|directory| directory.join("docker-config.json"));
    let docker = options
        .places
        .docker
        .as_ref()
        .map(|directory| directory.join("config.json"));
    match (own, docker) {
        (Some(own), Some(docker)) if docker.exists() && !own.exists() => Ok(docker),
        (Some(path), _) | (None, Some(path)) => Ok(path),
        (None, None) => Err(RemoteError::Configuration {
            file: "HOME".to_owned(),
            reason: "not set: there is no place to keep a login".to_owned(),
        }),
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, RemoteError> {
    match fs::read(path) {
        Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| unusable(path, error.to_string()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(unusable(path, error.to_string())),
    }
}

/// Written beside and renamed, so that a full disk leaves the old logins; readable by its owner only.
fn write(path: &Path, config: &Map<String, Value>) -> Result<(), RemoteError> {
    // A link, as people keep who version their settings, stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace(&path, config).map_err(|error| unusable(&path, error.to_string()))
}

fn replace(path: &Path, config: &Map<String, Value>) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    let beside = directory.join(format!(".{name}.{}", std::process::id()));
    let written = create(&beside).and_then(|mut file| {
        let mut text = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        config.serialize(&mut serde_json::Serializer::with_formatter(
            &mut text, indented,
        ))?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // Nothing is lost if this stays.
        drop(fs::remove_file(&beside));
    }
    written
}

fn create(path: &Path) -> io::Result<File> {
    // One of ours that was killed may have left its file.
    drop(fs::remove_file(path));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
