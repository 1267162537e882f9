//! containers-registries.conf(5), version 2: other names, mirrors, blocked and insecure registries.
//!
//! ```text
//! $CONTAINERS_REGISTRIES_CONF                      alone, if set
//! ~/.config/containers/registries.conf             else the user's, else the system's,
//! /etc/containers/registries.conf                  
//! /etc/containers/registries.conf.d/*.conf         then these, by name,
//! ~/.config/containers/registries.conf.d/*.conf    and the user's; a later one replaces a prefix
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::error::RemoteError;
use super::super::options::Places;
use super::Place;
use super::config_file::is_absent;

/// A `[[registry]]` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
    #[serde(skip)]
    file: PathBuf,
}

/// A `[[registry.mirror]]` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: PullFromMirror,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Registry>,
}

/// All registries that are mentioned.
#[derive(Debug, Default)]
pub(super) struct RegistriesConf {
    registries: Vec<Registry>,
}

/// A server and the name of a repository there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) insecure: bool,
    pub(super) is_mirror: bool,
}

impl RegistriesConf {
    /// Reads the files. One that is not there says nothing.
    pub(super) fn read(places: &Places) -> Result<Self, RemoteError> {
        let mut conf = Self::default();
        for path in files(places) {
            let named = places.registries_conf.as_ref() == Some(&path);
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if is_absent(&error, named) => continue,
                Err(error) => return Err(unusable(&path, error.to_string())),
            };
            conf.add(&path, &text)?;
        }
        Ok(conf)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), RemoteError> {
        let file: File = toml::from_str(text).map_err(|error| {
            unusable(path, error.to_string().replace('\n', " ").trim().to_owned())
        })?;
        for mut registry in file.registry {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.prefix.is_empty() {
                return Err(unusable(
                    path,
                    "a [[registry]] has neither prefix nor location".to_owned(),
                ));
            }
            path.clone_into(&mut registry.file);
            self.registries
                .retain(|other| other.prefix != registry.prefix);
            self.registries.push(registry);
        }
        Ok(())
    }

    /// Whether a server is called insecure under its own name.
    pub(super) fn is_insecure(&self, registry: &str) -> bool {
        let location = |it: &Registry| {
            if it.location.is_empty() {
                it.prefix.clone()
            } else {
                it.location.clone()
            }
        };
        self.registries
            .iter()
            .any(|it| it.insecure && location(it).split('/').next() == Some(registry))
    }

    /// The servers to ask, in order: mirrors, then the registry itself or what it was renamed to.
    pub(super) fn endpoints(&self, place: Place<'_>) -> Result<Vec<Endpoint>, RemoteError> {
        let name = format!("{}/{}", place.registry, place.repository);
        let matching = self
            .registries
            .iter()
            .filter_map(|it| Some((match_length(&it.prefix, &name)?, it)));
        let Some((length, registry)) = matching.max_by_key(|(_, it)| it.prefix.len()) else {
            let (registry, repository) = (place.registry.to_owned(), place.repository.to_owned());
            return Ok(vec![Endpoint {
                registry,
                repository,
                insecure: false,
                is_mirror: false,
            }]);
        };
        if registry.blocked {
            return Err(RemoteError::Blocked {
                name: place.name.to_owned(),
                registry: registry.prefix.clone(),
                file: registry.file.display().to_string(),
            });
        }
        let rest = name.get(length..).unwrap_or_default();
        let mut endpoints = Vec::new();
        for mirror in &registry.mirror {
            let fits = match mirror.pull_from_mirror {
                PullFromMirror::All => place.pinned || !registry.mirror_by_digest_only,
                PullFromMirror::DigestOnly => place.pinned,
                PullFromMirror::TagOnly => !place.pinned,
            };
            if fits {
                let new = renamed(&mirror.location, rest).ok_or_else(|| {
                    unusable(
                        &registry.file,
                        format!("mirror {:?} is no location", mirror.location),
                    )
                })?;
                endpoints.push(Endpoint {
                    insecure: mirror.insecure,
                    is_mirror: true,
                    ..new
                });
            }
        }
        let own = if registry.location.is_empty() {
            // Allowed for prefixes like *.host: the name stays.
            renamed(name.get(..length).unwrap_or_default(), rest)
        } else {
            renamed(&registry.location, rest)
        };
        let own = own.ok_or_else(|| {
            unusable(
                &registry.file,
                format!("{:?} is no location for {name}", registry.location),
            )
        })?;
        endpoints.push(Endpoint {
            insecure: registry.insecure,
            ..own
        });
        Ok(endpoints)
    }
}

/// How much of a name a prefix covers, if it does: whole parts only. `*.host` covers the host of any
/// name below it.
fn match_length(prefix: &str, name: &str) -> Option<usize> {
    let length = match prefix.strip_prefix('*') {
        Some(domain) => {
            let host = name.split(['/', ':']).next()?;
            let (tail_host, _) = domain.split_once(['/', ':']).unwrap_or((domain, ""));
            if !tail_host.starts_with('.')
                || !host.ends_with(tail_host)
                || host.len() == tail_host.len()
            {
                return None;
            }
            let start = host.len() - tail_host.len();
            name.get(start..)?
                .starts_with(domain)
                .then_some(start + domain.len())?
        }
        None => name.starts_with(prefix).then_some(prefix.len())?,
    };
    let rest = name.get(length..)?;
    (rest.is_empty() || rest.starts_with(['/', ':'])).then_some(length)
}

fn renamed(location: &str, rest: &str) -> Option<Endpoint> {
    let name = format!("{}{rest}", location.trim_end_matches('/'));
    let (registry, repository) = name.split_once('/')?;
    let good =
        !registry.is_empty() && !repository.is_empty() && !registry.contains(['*', '@', '?', '#']);
    good.then(|| Endpoint {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        insecure: false,
        is_mirror: false,
    })
}

fn files(places: &Places) -> Vec<PathBuf> {
    if let Some(only) = &places.registries_conf {
        return vec![only.clone()];
    }
    let system = &places.etc_containers;
    let user = places.user_containers.as_ref();
    let main = user
        .map(|user| user.join("registries.conf"))
        .filter(|path| path.exists());
    let mut files = vec![main.unwrap_or_else(|| system.join("registries.conf"))];
    for parent in [Some(system), user].into_iter().flatten() {
        // A directory that is not there, or not ours to read, adds nothing.
        let entries = fs::read_dir(parent.join("registries.conf.d"))
            .into_iter()
            .flatten()
            .flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == "conf"));
        paths.sort();
        files.extend(paths);
    }
    files
}

fn unusable(path: &Path, reason: String) -> RemoteError {
    RemoteError::Configuration {
        file: path.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests;
