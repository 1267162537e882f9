//! What an image is made from, as the user names it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use skiff_fs::format::oci::{
    DaemonImage, Layout, OciArchive, Platform, RegistryStore, SavedImage, Store,
};
use skiff_fs::remote::{
    Client, Daemon, DockerReference, Observer, Reference, RemoteError, RemoteOptions,
};
use std::sync::Arc;

/// Schemes that a name may begin with, where it is no file.
const SCHEMES: [&str; 11] = [
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "oras",
    "library",
    "shub",
    "http",
    "https",
    "ipfs",
];

/// What an image is made from.
#[derive(Clone, Debug)]
pub enum Source {
    /// An OCI image.
    Oci(OciSource),
    /// An image file that is elsewhere: `oras://`, `https://`.
    Remote(Reference),
    /// An image or directory of this machine.
    Local(PathBuf),
}

/// Where an OCI image is.
#[derive(Clone, Debug)]
pub enum OciSource {
    /// In a registry.
    Docker(DockerReference),
    /// What `docker save` wrote.
    DockerArchive(String),
    /// With docker's daemon.
    DockerDaemon(String),
    /// A directory.
    Oci(String),
    /// A layout in an archive.
    OciArchive(String),
}

/// What an image is made from, and how a definition would say so.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What.
    pub source: Source,
    /// Bootstrap agent.
    pub bootstrap: String,
    /// The value of `from`.
    pub from: String,
}

impl Spec {
    /// Reads a name with a scheme in front; `None` if there is none that is known.
    ///
    /// # Errors
    /// A name that cannot be one, or a place that is not supported.
    pub fn parse(name: &OsStr) -> anyhow::Result<Option<Self>> {
        let Some(text) = name.to_str() else {
            return Ok(None);
        };
        match text.split_once(':') {
            Some((scheme, rest)) if SCHEMES.contains(&scheme) => {
                Self::new(scheme, rest.strip_prefix("//").unwrap_or(rest)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What a bootstrap agent takes from `from`.
    ///
    /// # Errors
    /// As [`Spec::parse`]; an agent that takes no image.
    pub fn new(bootstrap: &str, from: &str) -> anyhow::Result<Self> {
        if from.is_empty() {
            bail!("could not parse reference: nothing behind {bootstrap}:");
        }
        let oci = |source| Ok(Source::Oci(source));
        let source: anyhow::Result<Source> = match bootstrap {
            "docker" => oci(OciSource::Docker(DockerReference::parse(from)?)),
            "docker-archive" => oci(OciSource::DockerArchive(from.to_owned())),
            "oci" => oci(OciSource::Oci(from.to_owned())),
            "oci-archive" => oci(OciSource::OciArchive(from.to_owned())),
            "docker-daemon" => oci(OciSource::DockerDaemon(from.to_owned())),
            "localimage" => Ok(Source::Local(from.into())),
            "oras" | "library" | "shub" | "http" | "https" => {
                let name = format!("{bootstrap}://{from}");
                let reference = Reference::parse(&name)?
                    .with_context(|| format!("{name}: not a name of an image"))?;
                Ok(Source::Remote(reference))
            }
            "ipfs" => bail!("ipfs:{from}: images of IPFS are not supported"),
            other => bail!("invalid build source {other}"),
        };
        Ok(Self {
            source: source?,
            bootstrap: bootstrap.to_owned(),
            from: from.to_owned(),
        })
    }

    /// The local image or directory at `path`.
    pub fn local(path: &Path) -> Self {
        Self {
            source: Source::Local(path.to_owned()),
            bootstrap: "localimage".to_owned(),
            from: path.display().to_string(),
        }
    }

    /// As a user would write it.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Oci(OciSource::Docker(_)) => format!("docker://{}", self.from),
            Source::Oci(_) => format!("{}:{}", self.bootstrap, self.from),
            Source::Remote(reference) => reference.name(),
            Source::Local(path) => path.display().to_string(),
        }
    }
}

impl OciSource {
    /// Opens it. A registry is not asked anything yet.
    ///
    /// # Errors
    /// An archive that cannot be read.
    pub fn open(
        &self,
        options: &RemoteOptions,
        observer: &Arc<dyn Observer>,
    ) -> anyhow::Result<Box<dyn Store>> {
        Ok(match self {
            Self::Docker(reference) => {
                let client = Client::new(options.clone(), Arc::clone(observer))?;
                Box::new(RegistryStore::new(client, reference.clone()))
            }
            Self::DockerArchive(text) => SavedImage::open(text)?,
            Self::DockerDaemon(name) => {
                let daemon = Daemon::at(options.docker_host.as_deref())?;
                if options.offline && daemon.is_remote() {
                    let name = format!("docker-daemon:{name}");
                    return Err(RemoteError::Offline { name }.into());
                }
                Box::new(DaemonImage::new(daemon, name))
            }
            Self::Oci(text) => Box::new(Layout::new(text)),
            Self::OciArchive(text) => Box::new(OciArchive::open(text)?),
        })
    }

    /// Whether it is in a registry.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Docker(_))
    }

    /// The platform that is wanted, with what the name itself says.
    pub fn platform(&self, wanted: &Platform) -> Platform {
        match self {
            Self::Docker(reference) => match reference.architecture() {
                Some((architecture, variant)) => Platform {
                    architecture: architecture.to_owned(),
                    variant: variant.map(str::to_owned),
                },
                None => wanted.clone(),
            },
            _ => wanted.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let parse = |text: &str| Spec::parse(OsStr::new(text));
        for (text, bootstrap, from) in [
            ("docker://alpine:3", "docker", "alpine:3"),
            ("docker:alpine", "docker", "alpine"),
            ("oci:a/b", "oci", "a/b"),
            ("oci:///a/b", "oci", "/a/b"),
            ("docker-archive:x.tar", "docker-archive", "x.tar"),
            ("docker-daemon:x:1", "docker-daemon", "x:1"),
            ("oras://h/x:1", "oras", "h/x:1"),
        ] {
            let spec = parse(text).unwrap().unwrap();
            assert_eq!((&*spec.bootstrap, &*spec.from), (bootstrap, from));
        }
        assert!(parse("x.def").unwrap().is_none());
        assert!(parse("foo://x").unwrap().is_none());
        for text in ["docker://", "docker-daemon:", "library://x", "docker://A"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
