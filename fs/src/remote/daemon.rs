//! The daemon of docker, or one that speaks as it does: an image of its own store, whole.
//!
//! ```text
//! GET /images/NAME/json        which image the name stands for: its ID
//! GET /images/get?names=ID     that image, as `docker save` would write it
//! ```
//! Source: Docker Engine API, "Inspect an image" and "Export several images". Both exist without a
//! version in front, which means the daemon's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use super::error::RemoteError;
use super::failure;
use super::tls;

/// Where a daemon listens if nobody says otherwise.
const USUAL: &str = "unix:///var/run/docker.sock";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A daemon reads all layers before it sends the first byte of a large image.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(600);
/// It knows at once which image a name stands for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// More than any image's description has.
const LONGEST_ANSWER: usize = 16 << 20;
/// More than anybody wants to read of why not.
const LONGEST_REASON: usize = 300;

/// A daemon of this machine, or one that listens on a TCP port.
#[derive(Debug)]
pub struct Daemon {
    /// As the user would write it.
    address: String,
    base: Url,
    client: reqwest::Client,
    runtime: Runtime,
}

/// Where a daemon listens.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    base: Url,
    socket: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    id: String,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Daemon {
    /// The daemon at `address`: `unix://PATH` or `tcp://HOST:PORT`; the usual socket without one.
    /// It is not asked anything yet.
    ///
    /// # Errors
    /// [`RemoteError::Configuration`] for an address that is none.
    pub fn at(address: Option<&str>) -> Result<Self, RemoteError> {
        let address = address.unwrap_or(USUAL);
        let failed = |reason: String| RemoteError::Configuration {
            file: format!("docker's daemon at {address}"),
            reason,
        };
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .no_proxy()
            .http1_only()
            .tls_backend_preconfigured(tls::nobody()?);
        let Place { base, socket } = place(address)?;
        if let Some(path) = socket {
            builder = builder.unix_socket(path);
        }
        Ok(Self {
            address: address.to_owned(),
            base,
            client: builder.build().map_err(|error| failed(error.to_string()))?,
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| failed(error.to_string()))?,
        })
    }

    /// Whether it is asked over a network.
    pub fn is_remote(&self) -> bool {
        !self.address.starts_with("unix:")
    }

    /// The ID of the image that `name` stands for: `sha256:…` of what the daemon keeps.
    ///
    /// # Errors
    /// [`RemoteError`]: there is no daemon, or no such image.
    pub fn image_id(&self, name: &str) -> Result<String, RemoteError> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("images").extend(name.split('/')).push("json");
        }
        self.runtime.block_on(async {
            let request = self.client.get(url).timeout(ANSWER_TIMEOUT);
            let mut answer = self.ask(request, name).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = next(&mut answer, name).await? {
                bytes.extend_from_slice(piece.as_ref());
                if bytes.len() > LONGEST_ANSWER {
                    return Err(unusable(name, "its description does not end"));
                }
            }
            serde_json::from_slice(&bytes)
                .map(|description: Description| description.id)
                .map_err(|error| unusable(name, format!("its description: {error}")))
        })
    }

    /// Writes the image with this ID to `file`; `name` is what the user calls it.
    ///
    /// # Errors
    /// [`RemoteError`]: as for [`Daemon::image_id`], or no room in `file`.
    pub fn export(&self, id: &str, name: &str, file: &mut dyn Write) -> Result<(), RemoteError> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(["images", "get"]);
        }
        url.query_pairs_mut().append_pair("names", id);
        self.runtime.block_on(async {
            let mut answer = self.ask(self.client.get(url), name).await?;
            while let Some(piece) = next(&mut answer, name).await? {
                file.write_all(piece.as_ref())
                    .map_err(|error| unusable(name, format!("writing it down: {error}")))?;
            }
            Ok(())
        })
    }

    async fn ask(
        &self,
        request: reqwest::RequestBuilder,
        name: &str,
    ) -> Result<reqwest::Response, RemoteError> {
        let sent = request.send().await;
        let mut answer = sent.map_err(|error| {
            let reason = format!(
                "docker's daemon does not answer at {}: {}; is it running, may you use its socket, \
                 and is --docker-host or $DOCKER_HOST right?",
                self.address,
                failure::cause(&error.without_url())
            );
            unusable(name, reason)
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let mut bytes = Vec::new();
        // What cannot be read of the reason is not told.
        while let Ok(Some(piece)) = answer.chunk().await {
            bytes.extend_from_slice(&piece);
            if bytes.len() > LONGEST_REASON {
                break;
            }
        }
        let reason = serde_json::from_slice(&bytes).map_or_else(
            |_| status.to_string(),
            |refusal: Refusal| failure::one_line(&refusal.message, LONGEST_REASON),
        );
        Err(match status {
            StatusCode::NOT_FOUND => RemoteError::NotFound {
                url: format!("docker-daemon:{name}"),
                detail: format!("the daemon at {} says: {reason}", self.address),
            },
            _ => unusable(name, reason),
        })
    }
}

/// More of an answer's body.
async fn next(
    answer: &mut reqwest::Response,
    name: &str,
) -> Result<Option<impl AsRef<[u8]> + use<>>, RemoteError> {
    answer.chunk().await.map_err(|error| {
        let reason = failure::cause(&error.without_url());
        unusable(name, format!("the daemon's answer broke off: {reason}"))
    })
}

fn unusable(name: &str, reason: impl Into<String>) -> RemoteError {
    RemoteError::Unusable {
        url: format!("docker-daemon:{name}"),
        reason: reason.into(),
    }
}

fn place(address: &str) -> Result<Place, RemoteError> {
    let wrong = |reason: &str| RemoteError::Configuration {
        file: format!("docker host {address}"),
        reason: reason.to_owned(),
    };
    let (host, socket) = match address.split_once("://") {
        // The name is for the request's head alone.
        Some(("unix", path)) if Path::new(path).is_absolute() => ("docker", Some(path.into())),
        Some(("tcp" | "http", host)) if !host.is_empty() => (host, None),
        Some(("https" | "ssh" | "fd" | "npipe", _)) => {
            return Err(wrong(
                "daemons behind TLS or ssh are not supported; write unix://PATH or tcp://HOST:PORT",
            ));
        }
        _ => {
            return Err(wrong(
                "that is no address; write unix://PATH or tcp://HOST:PORT",
            ));
        }
    };
    let base = Url::parse(&format!("http://{host}")).map_err(|error| wrong(&error.to_string()))?;
    Ok(Place { base, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let usual = place(USUAL).unwrap();
        assert_eq!(usual.socket, Some("/var/run/docker.sock".into()));
        let port = place("tcp://127.0.0.1:2375").unwrap();
        assert_eq!(port.socket, None);
        assert_eq!(port.base.as_str(), "http://127.0.0.1:2375/");
        for wrong in [
            "junk",
            "unix://",
            "unix://sock",
            "tcp://",
            "ssh://me@host",
            "tcp://a b",
        ] {
            let error = place(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
