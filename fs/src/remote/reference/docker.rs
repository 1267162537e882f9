//! Names of images in registries, as docker has them: most of it may be left out.

use std::fmt;

use super::{ReferenceError, Version, check_registry, check_repository, check_tag, hide_secrets};
use crate::remote::digest::Digest;

/// The registry of names without one.
const HUB: &str = "docker.io";

/// First components of repositories of Docker Hub that stand for an architecture, and its variant.
const ARCHITECTURES: [(&str, &str, Option<&str>); 10] = [
    ("amd64", "amd64", None),
    ("arm32v5", "arm", Some("v5")),
    ("arm32v6", "arm", Some("v6")),
    ("arm32v7", "arm", Some("v7")),
    ("arm64v8", "arm64", Some("v8")),
    ("i386", "386", None),
    ("ppc64le", "ppc64le", None),
    ("s390x", "s390x", None),
    ("riscv64", "riscv64", None),
    ("mips64le", "mips64le", None),
];

/// Registry, repository and tag or digest of an OCI image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerReference {
    registry: String,
    repository: String,
    version: Version,
}

impl DockerReference {
    /// Reads what follows `docker:` or `docker://`.
    ///
    /// # Errors
    /// What cannot be a name.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |reason| ReferenceError::Name {
            name: format!("docker://{}", hide_secrets(text)),
            reason,
        };
        let rest = text.strip_prefix("//").unwrap_or(text);
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => {
                let digest = digest
                    .parse::<Digest>()
                    .map_err(|_| wrong("what follows the @ is no sha256 or sha512 digest"))?;
                (name, Some(digest))
            }
            None => (rest, None),
        };
        // What comes first is a host if it cannot be anything else.
        let is_host = |part: &str| {
            part.contains(['.', ':'])
                || part == "localhost"
                || part.bytes().any(|byte| byte.is_ascii_uppercase())
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_host(first) => (first, path),
            _ => (HUB, name),
        };
        check_registry(registry).map_err(wrong)?;
        let registry = match registry.to_ascii_lowercase() {
            hub if matches!(&*hub, "index.docker.io" | "registry-1.docker.io") => HUB.to_owned(),
            other => other,
        };
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let repository = if registry == HUB && !repository.contains('/') && !repository.is_empty() {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        check_repository(&repository).map_err(wrong)?;
        if let Some(tag) = tag {
            check_tag(tag).map_err(wrong)?;
        }
        let version = digest.map_or_else(
            || Version::Tag(tag.unwrap_or("latest").to_owned()),
            Version::Digest,
        );
        Ok(Self {
            registry,
            repository,
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

    /// The same image, by one digest for ever.
    #[must_use]
    pub fn pinned_to(&self, digest: &Digest) -> Self {
        Self {
            version: Version::Digest(digest.clone()),
            ..self.clone()
        }
    }

    /// Architecture and variant that the name itself says, such as `arm64v8/alpine`.
    pub fn architecture(&self) -> Option<(&'static str, Option<&'static str>)> {
        if self.registry != HUB {
            return None;
        }
        let (first, _) = self.repository.split_once('/')?;
        let known = ARCHITECTURES.iter().find(|(name, ..)| *name == first)?;
        Some((known.1, known.2))
    }
}

impl fmt::Display for DockerReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "docker://{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(formatter, ":{tag}"),
            Version::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn what_is_left_out_is_docker_hub() {
        for (text, full) in [
            ("//alpine", "docker://docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker://docker.io/library/alpine:3.20"),
            ("//lab/py", "docker://docker.io/lab/py:latest"),
            ("//index.docker.io/x", "docker://docker.io/library/x:latest"),
            ("//ghcr.io/a/b/c:d", "docker://ghcr.io/a/b/c:d"),
            ("//localhost/x", "docker://localhost/x:latest"),
            ("//127.0.0.1:5000/x:1", "docker://127.0.0.1:5000/x:1"),
            ("//LAB/x", "docker://lab/x:latest"),
        ] {
            assert_eq!(DockerReference::parse(text).unwrap().to_string(), full);
        }
        let pinned = DockerReference::parse(&format!("//alpine:3@{DIGEST}")).unwrap();
        assert_eq!(
            pinned.to_string(),
            format!("docker://docker.io/library/alpine@{DIGEST}")
        );
    }

    #[test]
    fn impossible_names() {
        for text in [
            "",
            "//",
            "//Alpine",
            "//a b",
            "//a/../b",
            "//host.io/",
            "//alpine:",
            "//alpine@sha256:12",
            "//user:pw@host.io/x",
        ] {
            assert!(DockerReference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn architectures_in_names() {
        let of = |text| DockerReference::parse(text).unwrap().architecture();
        assert_eq!(of("//arm64v8/alpine"), Some(("arm64", Some("v8"))));
        assert_eq!(of("//i386/alpine"), Some(("386", None)));
        assert_eq!(of("//alpine"), None);
        assert_eq!(of("//ghcr.io/arm64v8/alpine"), None);
    }
}
