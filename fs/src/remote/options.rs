//! What a user or a site can set: taken from flags and from the environment, handed as a value from
//! the launching process to the image's server.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::RemoteError;
use super::reference::{Reference, host_and_port};

/// Settings of the network client. Contains passwords: it may travel over a private socket or a
/// pipe, and belongs into no file; `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteOptions {
    /// Talk http, not https, to registries.
    pub no_https: bool,
    /// User name for the registry that a reference names.
    pub username: Option<String>,
    /// Password for it.
    pub password: Option<String>,
    /// A file of credentials that is read before any other.
    pub authfile: Option<PathBuf>,
    /// Address of docker's daemon, for images that it has; see [`super::Daemon::at`].
    pub docker_host: Option<String>,
    /// No network at all.
    pub offline: bool,
    /// For how long what a tag stood for is believed without asking again.
    pub tag_ttl: Duration,
    /// For how long a read is tried while no data comes.
    pub give_up_after: Duration,
    /// For how long looking a name up is tried. Shorter: the user sits before it and may have
    /// mistyped the server's name.
    pub give_up_look_up_after: Duration,
    /// After how long without a byte a request is made again.
    pub stall_after: Duration,
    /// A request is doubled when its answer is late, but never sooner than this.
    pub hedge_after: Duration,
    /// How many requests may be under way to one server.
    pub requests_per_host: usize,
    /// Proxies.
    pub proxies: Proxies,
    /// Where configuration is looked for.
    pub places: Places,
    /// User names and passwords that stood in URLs, by origin; see [`RemoteOptions::adopt`].
    pub url_logins: Vec<UrlLogin>,
}

/// The usual proxy variables.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// `HTTP_PROXY`.
    pub http: Option<String>,
    /// `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `ALL_PROXY`.
    pub all: Option<String>,
    /// `NO_PROXY`.
    pub except: Option<String>,
}

/// Where configuration is looked for. A value, so that the server looks where the launching process
/// would have, and tests look elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// `/etc/containers`.
    pub etc_containers: PathBuf,
    /// `/etc/docker`.
    pub etc_docker: PathBuf,
    /// `~/.config/containers`.
    pub user_containers: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR/containers`.
    pub runtime_containers: Option<PathBuf>,
    /// `~/.docker`.
    pub docker: Option<PathBuf>,
    /// `~/.apptainer`.
    pub apptainer: Option<PathBuf>,
    /// `$CONTAINERS_REGISTRIES_CONF`: this file instead of all others.
    pub registries_conf: Option<PathBuf>,
    /// `$SSL_CERT_FILE`.
    pub ssl_cert_file: Option<PathBuf>,
    /// `$SSL_CERT_DIR`.
    pub ssl_cert_dir: Option<PathBuf>,
    /// `$PATH`, for credential helpers.
    pub path: Option<OsString>,
}

/// A login that stood in a URL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlLogin {
    origin: String,
    username: String,
    password: String,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            no_https: false,
            username: None,
            password: None,
            authfile: None,
            docker_host: None,
            offline: false,
            tag_ttl: Duration::from_secs(30),
            give_up_after: Duration::from_secs(120),
            give_up_look_up_after: Duration::from_secs(20),
            stall_after: Duration::from_secs(15),
            hedge_after: Duration::from_secs(1),
            requests_per_host: 16,
            proxies: Proxies::default(),
            places: Places::default(),
            url_logins: Vec::new(),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            etc_containers: "/etc/containers".into(),
            etc_docker: "/etc/docker".into(),
            user_containers: None,
            runtime_containers: None,
            docker: None,
            apptainer: None,
            registries_conf: None,
            ssl_cert_file: None,
            ssl_cert_dir: None,
            path: None,
        }
    }
}

impl RemoteOptions {
    /// Reads the environment. Empty variables count as unset.
    ///
    /// # Errors
    /// A variable of ours that cannot be understood.
    pub fn from_env(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, RemoteError> {
        let env = Environment(env);
        let mut options = Self {
            no_https: env.truth(&["APPTAINER_NOHTTPS", "SINGULARITY_NOHTTPS"])?
                || env.truth(&["APPTAINER_NO_HTTPS", "SINGULARITY_NO_HTTPS"])?,
            username: env.text(&DOCKER_USERNAME),
            password: env.text(&DOCKER_PASSWORD),
            authfile: env.path(&[
                "APPTAINER_AUTHFILE",
                "SINGULARITY_AUTHFILE",
                "REGISTRY_AUTH_FILE",
            ]),
            docker_host: env.text(&[
                "APPTAINER_DOCKER_HOST",
                "SINGULARITY_DOCKER_HOST",
                "DOCKER_HOST",
            ]),
            offline: env.truth(&["SKIFF_OFFLINE"])?,
            proxies: Proxies {
                http: env.text(&["http_proxy", "HTTP_PROXY"]),
                https: env.text(&["https_proxy", "HTTPS_PROXY"]),
                all: env.text(&["all_proxy", "ALL_PROXY"]),
                except: env.text(&["no_proxy", "NO_PROXY"]),
            },
            places: Places::from_env(&env),
            ..Self::default()
        };
        for (name, place) in [
            ("SKIFF_TAG_TTL", &mut options.tag_ttl),
            ("SKIFF_NETWORK_TIMEOUT", &mut options.give_up_after),
            ("SKIFF_LOOKUP_TIMEOUT", &mut options.give_up_look_up_after),
            ("SKIFF_STALL_TIMEOUT", &mut options.stall_after),
        ] {
            if let Some(text) = env.text(&[name]) {
                *place = duration(&text).ok_or_else(|| RemoteError::Configuration {
                    file: name.to_owned(),
                    reason: format!(
                        "{text:?} is no time; write seconds, or 500ms, 30s, 2m, 1h, 1d"
                    ),
                })?;
            }
        }
        Ok(options)
    }

    /// For how long looking a name up is tried.
    pub(super) fn look_up_for(&self) -> Duration {
        self.give_up_look_up_after.min(self.give_up_after)
    }

    /// Remembers the user name and password that stand in a URL, which [`super::Resolved`] leaves
    /// out, for requests to the same origin.
    pub fn adopt(&mut self, reference: &Reference) {
        if let Reference::Http(http) = reference
            && let Some((username, password)) = http.login()
        {
            let (username, password) = (username.to_owned(), password.to_owned());
            self.url_logins.push(UrlLogin {
                origin: origin(http.url()),
                username,
                password,
            });
        }
    }

    /// The login of a URL's origin.
    pub(super) fn url_login(&self, url: &reqwest::Url) -> Option<(&str, &str)> {
        let origin = origin(url);
        let login = self
            .url_logins
            .iter()
            .rev()
            .find(|login| login.origin == origin)?;
        Some((&login.username, &login.password))
    }
}

const DOCKER_USERNAME: [&str; 3] = [
    "APPTAINER_DOCKER_USERNAME",
    "SINGULARITY_DOCKER_USERNAME",
    "DOCKER_USERNAME",
];
const DOCKER_PASSWORD: [&str; 3] = [
    "APPTAINER_DOCKER_PASSWORD",
    "SINGULARITY_DOCKER_PASSWORD",
    "DOCKER_PASSWORD",
];

impl Places {
    fn from_env(env: &Environment<'_>) -> Self {
        let home = env.path(&["HOME"]);
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let config = env
            .path(&["XDG_CONFIG_HOME"])
            .or_else(|| in_home(".config"));
        Self {
            user_containers: config.map(|config| config.join("containers")),
            runtime_containers: env
                .path(&["XDG_RUNTIME_DIR"])
                .map(|dir| dir.join("containers")),
            docker: env.path(&["DOCKER_CONFIG"]).or_else(|| in_home(".docker")),
            apptainer: env
                .path(&["APPTAINER_CONFIGDIR", "SINGULARITY_CONFIGDIR"])
                .or_else(|| in_home(".apptainer")),
            registries_conf: env.path(&["CONTAINERS_REGISTRIES_CONF"]),
            ssl_cert_file: env.path(&["SSL_CERT_FILE"]),
            ssl_cert_dir: env.path(&["SSL_CERT_DIR"]),
            path: (env.0)("PATH"),
            ..Self::default()
        }
    }
}

struct Environment<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    fn raw(&self, names: &[&str]) -> Option<OsString> {
        names
            .iter()
            .find_map(|name| (self.0)(name).filter(|value| !value.is_empty()))
    }

    /// From here on it means the same wherever the server works.
    fn path(&self, names: &[&str]) -> Option<PathBuf> {
        let path = PathBuf::from(self.raw(names)?);
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        self.raw(names).and_then(|value| value.into_string().ok())
    }

    fn truth(&self, names: &[&str]) -> Result<bool, RemoteError> {
        let Some(text) = self.text(names) else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "y" | "yes" | "on" => Ok(true),
            "0" | "f" | "false" | "n" | "no" | "off" => Ok(false),
            _ => Err(RemoteError::Configuration {
                file: names.first().copied().unwrap_or_default().to_owned(),
                reason: format!("{text:?} is neither true nor false"),
            }),
        }
    }
}

/// `30`, `30s`, `500ms`, `2m`, `1h`, `1d`; fractions are fine.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text
        .find(|it: char| it.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * factor).ok()
}

fn origin(url: &reqwest::Url) -> String {
    format!("{}://{}", url.scheme(), host_and_port(url))
}

fn hidden<T>(secret: Option<&T>) -> Option<&'static str> {
    secret.map(|_| "hidden")
}

impl fmt::Debug for RemoteOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteOptions")
            .field("no_https", &self.no_https)
            .field("username", &self.username)
            .field("password", &hidden(self.password.as_ref()))
            .field("authfile", &self.authfile)
            .field("docker_host", &self.docker_host)
            .field("offline", &self.offline)
            .field("tag_ttl", &self.tag_ttl)
            .field("give_up_after", &self.give_up_after)
            .field("give_up_look_up_after", &self.give_up_look_up_after)
            .field("stall_after", &self.stall_after)
            .field("hedge_after", &self.hedge_after)
            .field("requests_per_host", &self.requests_per_host)
            .field("proxies", &self.proxies)
            .field("places", &self.places)
            .field("url_logins", &self.url_logins)
            .finish()
    }
}

/// Proxies' URLs often hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Proxies")
            .field("http", &hidden(self.http.as_ref()))
            .field("https", &hidden(self.https.as_ref()))
            .field("all", &hidden(self.all.as_ref()))
            .field("except", &self.except)
            .finish()
    }
}

impl fmt::Debug for UrlLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UrlLogin")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<RemoteOptions, RemoteError> {
        RemoteOptions::from_env(&|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_environment_sets_options() {
        let it = options(&[
            ("SKIFF_OFFLINE", "1"),
            ("SKIFF_TAG_TTL", "2m"),
            ("SKIFF_NETWORK_TIMEOUT", "0.5"),
            ("SKIFF_STALL_TIMEOUT", "250ms"),
            ("SINGULARITY_DOCKER_USERNAME", "old"),
            ("APPTAINER_DOCKER_USERNAME", "new"),
            ("DOCKER_PASSWORD", "secret"),
            ("HOME", "/home/u"),
            ("HTTPS_PROXY", "http://p:secret@proxy:3128"),
            ("REGISTRY_AUTH_FILE", "auth.json"),
            ("SSL_CERT_FILE", "ca.pem"),
        ])
        .unwrap();
        assert!(it.offline && !it.no_https);
        assert_eq!(it.tag_ttl, Duration::from_secs(120));
        assert_eq!(it.give_up_after, Duration::from_millis(500));
        assert_eq!(it.stall_after, Duration::from_millis(250));
        assert_eq!(it.username.as_deref(), Some("new"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(it.authfile, Some(here.join("auth.json")));
        assert_eq!(it.places.ssl_cert_file, Some(here.join("ca.pem")));
        assert_eq!(it.places.apptainer, Some("/home/u/.apptainer".into()));
        assert_eq!(
            it.places.user_containers,
            Some("/home/u/.config/containers".into())
        );
        assert!(!format!("{it:?}").contains("secret"), "{it:?}");
        assert_eq!(
            options(&[("SKIFF_OFFLINE", "")]).unwrap(),
            RemoteOptions::default()
        );
    }

    #[test]
    fn nonsense_is_told() {
        assert!(options(&[("SKIFF_TAG_TTL", "soon")]).is_err());
        assert!(options(&[("SKIFF_TAG_TTL", "-1")]).is_err());
        assert!(options(&[("SKIFF_OFFLINE", "maybe")]).is_err());
    }
}
