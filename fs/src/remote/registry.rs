//! Registries: which servers hold a repository, how to be let in, and what a manifest says.
//!
//! ```text
//! reference ─► registries_conf   rewritten name, mirrors in order, blocked, insecure
//!                │ roads         one per server and scheme
//!              guard             challenge ─► token or password, kept per server and repository
//!                │                 └ credentials ─► files and helpers of docker, podman, apptainer
//!              manifest          digest checked, the one layer that is a SIF
//! ```

pub(super) mod challenge;
pub(super) mod config_file;
pub(super) mod credentials;
pub(super) mod guard;
mod helper;
pub(super) mod image;
pub(super) mod manifest;
mod publish;
pub(super) mod push;
mod referrers;
mod registries_conf;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::Url;

use super::client::Client;
use super::error::RemoteError;
use super::exchange::Access;
use super::roads::{Road, Roads};
use config_file::Credentials;
use guard::Guard;
use registries_conf::{Endpoint, RegistriesConf};

/// What is known about registries, for the life of a client.
#[derive(Debug, Default)]
pub(super) struct Registries {
    conf: OnceLock<Result<RegistriesConf, RemoteError>>,
    /// One guard for each server and repository, so that a token is asked for once.
    guards: Mutex<HashMap<(String, String), Arc<Guard>>>,
}

/// What a user calls a place in a registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// For messages.
    pub(super) name: &'a str,
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    /// Whether the user named a digest: some mirrors are for those only, some for tags only.
    pub(super) pinned: bool,
}

impl Client {
    /// The ways to `/v2/<repository>/<rest>`, in the order in which they are tried.
    pub(super) fn registry_roads(
        &self,
        place: Place<'_>,
        rest: &str,
    ) -> Result<Roads, RemoteError> {
        let registries = self.registries();
        let conf = registries
            .conf
            .get_or_init(|| RegistriesConf::read(&self.options().places));
        let conf = conf.as_ref().map_err(Clone::clone)?;
        let mut roads = Vec::new();
        for endpoint in conf.endpoints(place)? {
            let server = api_server(&endpoint.registry);
            let schemes = schemes(server, self.options().no_https, endpoint.insecure);
            for (index, (scheme, insecure)) in schemes.iter().enumerate() {
                let repository = api_repository(&endpoint);
                let text = format!("{scheme}://{server}/v2/{repository}/{rest}");
                let url = Url::parse(&text).map_err(|error| RemoteError::Configuration {
                    file: format!("registry {}", endpoint.registry),
                    reason: error.to_string(),
                })?;
                let guard =
                    registries.guard(&endpoint, format!("{scheme}://{server}"), &repository);
                let mut road = Road::new(url, Access::Guard(guard), *insecure);
                if endpoint.is_mirror {
                    road = road.of_mirror();
                }
                roads.push(if index > 0 { road.alternative() } else { road });
            }
        }
        Ok(Roads::new(roads))
    }
}

impl Client {
    /// The ways to `/v2/`, where a registry says whether it likes who we are.
    pub(super) fn registry_door(
        &self,
        registry: &str,
        credentials: Credentials,
    ) -> Result<Roads, RemoteError> {
        let conf = self
            .registries()
            .conf
            .get_or_init(|| RegistriesConf::read(&self.options().places));
        let conf = conf.as_ref().map_err(Clone::clone)?;
        let server = api_server(registry);
        let guard = Arc::new(Guard::with_credentials(registry.to_owned(), credentials));
        let schemes = schemes(server, self.options().no_https, conf.is_insecure(registry));
        let mut roads = Vec::new();
        for (index, (scheme, insecure)) in schemes.iter().enumerate() {
            let url = Url::parse(&format!("{scheme}://{server}/v2/")).map_err(|error| {
                RemoteError::Configuration {
                    file: format!("registry {registry}"),
                    reason: error.to_string(),
                }
            })?;
            let road = Road::new(url, Access::Guard(Arc::clone(&guard)), *insecure);
            roads.push(if index > 0 { road.alternative() } else { road });
        }
        Ok(Roads::new(roads))
    }
}

impl Registries {
    fn guard(&self, endpoint: &Endpoint, origin: String, repository: &str) -> Arc<Guard> {
        let new = || {
            let own = !endpoint.is_mirror;
            Arc::new(Guard::new(
                endpoint.registry.clone(),
                repository.to_owned(),
                own,
            ))
        };
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            guards
                .entry((origin, repository.to_owned()))
                .or_insert_with(new),
        )
    }
}

/// Schemes in the order in which they are tried, and whether any certificate will do.
///
/// A registry that its site calls insecure may have a certificate of its own making, or none. One on
/// this machine, or at a private address that is written as such, may have none either: Apptainer
/// falls back to http for these without being asked, and their users rely on it.
fn schemes(server: &str, no_https: bool, insecure: bool) -> &'static [(&'static str, bool)] {
    match neighbourhood(server) {
        _ if no_https => &[("http", false)],
        _ if insecure => &[("https", true), ("http", false)],
        // What is said to this machine is not overheard, and http servers that get the opening of
        // TLS may keep silent for long.
        Neighbourhood::Machine => &[("http", false), ("https", false)],
        Neighbourhood::Site => &[("https", false), ("http", false)],
        Neighbourhood::World => &[("https", false)],
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbourhood {
    Machine,
    Site,
    World,
}

fn neighbourhood(server: &str) -> Neighbourhood {
    let url = Url::parse(&format!("http://{server}/")).ok();
    let Some(host) = url.as_ref().and_then(Url::host_str) else {
        return Neighbourhood::World;
    };
    match host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        Ok(address) if address.is_loopback() => Neighbourhood::Machine,
        Ok(IpAddr::V4(address)) if address.is_private() => Neighbourhood::Site,
        Ok(_) => Neighbourhood::World,
        Err(_) if host == "localhost" || host.ends_with(".localhost") => Neighbourhood::Machine,
        Err(_) if host.ends_with(".local") => Neighbourhood::Site,
        Err(_) => Neighbourhood::World,
    }
}

/// Docker Hub's registry has another name than its users know.
pub(super) fn api_server(registry: &str) -> &str {
    if is_docker_hub(registry) {
        "registry-1.docker.io"
    } else {
        registry
    }
}

pub(super) fn is_docker_hub(registry: &str) -> bool {
    matches!(
        registry,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

fn api_repository(endpoint: &Endpoint) -> String {
    let repository = &endpoint.repository;
    if is_docker_hub(&endpoint.registry) && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_may_do_without_https() {
        for (server, expected) in [
            ("localhost:5000", Neighbourhood::Machine),
            ("127.0.0.1", Neighbourhood::Machine),
            ("[::1]:5000", Neighbourhood::Machine),
            ("10.1.2.3:5000", Neighbourhood::Site),
            ("192.168.0.1", Neighbourhood::Site),
            ("reg.local", Neighbourhood::Site),
            ("8.8.8.8", Neighbourhood::World),
            ("localhost.example.com", Neighbourhood::World),
            ("10.example.com", Neighbourhood::World),
        ] {
            assert_eq!(neighbourhood(server), expected, "{server}");
        }
        assert_eq!(schemes("reg.example.com", false, false), [("https", false)]);
        assert_eq!(
            schemes("reg.example.com", false, true),
            [("https", true), ("http", false)]
        );
        assert_eq!(schemes("reg.example.com", true, true), [("http", false)]);
    }
}
