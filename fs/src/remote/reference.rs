//! Names of images that are elsewhere: `http(s)://…` and `oras://…`, parsed and checked.

mod docker;

pub use docker::DockerReference;

use std::fmt;

use reqwest::Url;

use super::digest::Digest;
use super::resolve::is_key_of;

/// An image that is elsewhere, as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file on a web server.
    Http(HttpReference),
    /// A SIF in a registry, stored as ORAS does.
    Oras(OrasReference),
}

/// The URL of a file on a web server.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpReference {
    url: Url,
    login: Option<(String, String)>,
}

/// Registry, repository and tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrasReference {
    registry: String,
    repository: String,
    version: Version,
}

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// What a name stands for today.
    Tag(String),
    /// One manifest for ever.
    Digest(Digest),
}

/// Why a name that looks like one of ours is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a URL.
    #[error("{name}: not a URL: {reason}")]
    Url {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a name in a registry.
    #[error("{name}: not a name in a registry: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The libraries of SylabsCloud and their kind.
    #[error(
        "{name}: library:// is not supported; pull the image with a tool that speaks the library's \
         protocol and name the file, or push it to a registry and use oras://"
    )]
    Library {
        /// What was given.
        name: String,
    },
    /// Singularity Hub.
    #[error(
        "{name}: shub:// is not supported: Singularity Hub takes no new images and serves an archive \
         only; download the image with a browser or curl and name the file or its https:// URL"
    )]
    SingularityHub {
        /// What was given.
        name: String,
    },
}

impl Reference {
    /// Reads a name; `None` is a path or a transport that is not ours.
    ///
    /// # Errors
    /// A name of ours that cannot be one.
    pub fn parse(name: &str) -> Result<Option<Self>, ReferenceError> {
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(None);
        };
        match scheme {
            "http" | "https" => HttpReference::parse(name).map(|http| Some(Self::Http(http))),
            "oras" => OrasReference::parse(name, rest).map(|oras| Some(Self::Oras(oras))),
            "library" => Err(ReferenceError::Library {
                name: hide_secrets(name),
            }),
            "shub" => Err(ReferenceError::SingularityHub {
                name: hide_secrets(name),
            }),
            _ => Ok(None),
        }
    }

    /// Whether the name itself says which bytes: it names a digest.
    pub fn is_pinned(&self) -> bool {
        matches!(
            self,
            Self::Oras(OrasReference {
                version: Version::Digest(_),
                ..
            })
        )
    }

    /// The name for messages and listings: without what may be a secret in a URL's query.
    pub fn name(&self) -> String {
        match self {
            Self::Http(http) => shown(&http.url),
            Self::Oras(oras) => oras.to_string(),
        }
    }

    /// Whether bytes with this name for listings and this [`super::Resolved::key`] are a version of it.
    /// Of a URL's query the name has nothing, the key its digest.
    pub fn is_of(&self, name: &str, key: &str) -> bool {
        name == self.name()
            && match self {
                Self::Http(http) => http.url.query().is_none() || is_key_of(key, &http.url),
                Self::Oras(_) => true,
            }
    }
}

/// The canonical text, whole except for a user name and password in a URL.
impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => formatter.write_str(http.url.as_str()),
            Self::Oras(oras) => oras.fmt(formatter),
        }
    }
}

impl HttpReference {
    fn parse(name: &str) -> Result<Self, ReferenceError> {
        let wrong = |reason: String| ReferenceError::Url {
            name: hide_secrets(name),
            reason,
        };
        let mut url = Url::parse(name).map_err(|error| wrong(error.to_string()))?;
        if !url.has_host() {
            return Err(wrong("no host in it".to_owned()));
        }
        url.set_fragment(None);
        let login = (!url.username().is_empty() || url.password().is_some()).then(|| {
            (
                percent_decoded(url.username()),
                percent_decoded(url.password().unwrap_or_default()),
            )
        });
        let url = without_login(url);
        Ok(Self { url, login })
    }

    /// The URL, without user name and password.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// User name and password that the URL carried.
    pub fn login(&self) -> Option<(&str, &str)> {
        self.login
            .as_ref()
            .map(|(user, password)| (user.as_str(), password.as_str()))
    }
}

impl fmt::Debug for HttpReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("HttpReference")
            .field(&shown(&self.url))
            .finish()
    }
}

impl OrasReference {
    fn parse(name: &str, rest: &str) -> Result<Self, ReferenceError> {
        let wrong = |reason| ReferenceError::Name {
            name: hide_secrets(name),
            reason,
        };
        let (registry, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong("no repository in it"))?;
        check_registry(registry).map_err(wrong)?;
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                let digest = digest
                    .parse::<Digest>()
                    .map_err(|_| wrong("what follows the @ is no sha256 or sha512 digest"))?;
                (path, Some(digest))
            }
            None => (path, None),
        };
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        check_repository(repository).map_err(wrong)?;
        if let Some(tag) = tag {
            check_tag(tag).map_err(wrong)?;
        }
        // As everywhere: where both are given, the tag is a comment.
        let version = digest.map_or_else(
            || Version::Tag(tag.unwrap_or("latest").to_owned()),
            Version::Digest,
        );
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            repository: repository.to_owned(),
            version,
        })
    }

    /// `host` or `host:port`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag or digest.
    pub fn version(&self) -> &Version {
        &self.version
    }
}

impl fmt::Display for OrasReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "oras://{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(formatter, ":{tag}"),
            Version::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

impl Version {
    /// As it stands in the path of a manifest's URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag,
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

pub(super) fn check_registry(registry: &str) -> Result<(), &'static str> {
    if registry.contains('@') {
        return Err("a login does not belong into it; use registry login");
    }
    let url = Url::parse(&format!("https://{registry}/")).map_err(|_| "no host in it")?;
    if url.has_host() && url.path() == "/" && url.query().is_none() {
        Ok(())
    } else {
        Err("no host in it")
    }
}

/// Lower-case words joined by `.`, `_`, `__` or dashes; parts joined by slashes.
fn check_repository(repository: &str) -> Result<(), &'static str> {
    const MAX: usize = 255;
    let part_is_good = |part: &str| {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = part.as_bytes();
        let edges = bytes.first().is_some_and(|&byte| word(byte))
            && bytes.last().is_some_and(|&byte| word(byte));
        let within = bytes
            .iter()
            .all(|&byte| word(byte) || matches!(byte, b'.' | b'_' | b'-'));
        edges
            && within
            && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"]
                .iter()
                .any(|bad| part.contains(bad))
    };
    if repository.is_empty() {
        Err("no repository in it")
    } else if repository.len() > MAX {
        Err("the repository's name is longer than 255 characters")
    } else if repository.split('/').all(part_is_good) {
        Ok(())
    } else {
        Err(
            "a repository is lower-case letters and digits, with single . _ or dashes within, in parts joined by /",
        )
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = tag
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if first && tag.len() <= 128 && tag.bytes().all(inner) {
        Ok(())
    } else {
        Err("a tag is up to 128 letters, digits, _ . and dashes")
    }
}

/// A URL as messages may show it: no user, no password, no query.
pub(super) fn shown(url: &Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), host_and_port(url));
    text.push_str(url.path());
    if url.query().is_some() {
        text.push_str("?...");
    }
    text
}

/// The URL without user name and password.
pub(super) fn without_login(mut url: Url) -> Url {
    // Only a URL without a host cannot have a login, nor lose it.
    if url
        .set_username("")
        .and_then(|()| url.set_password(None))
        .is_err()
    {
        debug_assert!(!url.has_host());
    }
    url
}

/// `host` or `host:port` of a URL, the port only if it is not the scheme's own.
pub(super) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A name for messages, whether it parses or not: without a login and without a query, either of
/// which may be a secret.
pub fn hide_secrets(name: &str) -> String {
    let Some((scheme, rest)) = name.split_once("://") else {
        return name.to_owned();
    };
    // A password that was not escaped may hold any character, a ? before the first slash too.
    let in_path = |at: &usize| rest.find('/').is_some_and(|slash| slash < *at);
    let query = rest.find('?').filter(in_path).unwrap_or(rest.len());
    let before = rest.get(..query).unwrap_or(rest);
    // The @ of a digest stays: it stands behind the host, and no login ends like this.
    let is_digest = |at: &usize| {
        let after = before.get(at + 1..).unwrap_or_default();
        after.starts_with("sha256:") || after.starts_with("sha512:")
    };
    let ats = before.match_indices('@').map(|(at, _)| at);
    let shown = match ats.rev().find(|at| !is_digest(at)) {
        Some(at) => before.get(at + 1..).unwrap_or_default(),
        None => before,
    };
    let (shown, query) = match shown.split_once('?') {
        Some((shown, _)) => (shown, "?..."),
        None if query < rest.len() => (shown, "?..."),
        None => (shown, ""),
    };
    format!("{scheme}://{shown}{query}")
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
