//! From the names of a list to the host's files: libraries by the loader's cache, programs by the
//! PATH.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::elf::Library;
use super::glibc::GlibcVersion;
use super::host::HostRoot;
use super::ldcache;
use crate::environment::DEFAULT_PATH;
use crate::mount::HostLibrary;

/// The loader's cache.
const CACHE: &str = "/etc/ld.so.cache";

/// Libraries that a container has from its host; for a container in it they are the host's.
const OUTER_LIBRARIES: &str = "/.singularity.d/libs";

/// Where programs appear in the container.
const PROGRAMS: &str = "/usr/bin";

/// A file of the host and its place in the container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostFile {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// May be written to, by whoever may on the host.
    pub writable: bool,
}

/// The host's libraries by name, read once.
#[derive(Debug)]
pub struct Catalogue {
    cache: Vec<u8>,
    outer: Vec<OsString>,
}

impl Catalogue {
    /// Reads the loader's cache.
    ///
    /// # Errors
    /// As `read(2)`; a host without a cache has no libraries.
    pub fn read(host: &HostRoot<'_>) -> io::Result<Self> {
        let cache = match host.read(Path::new(CACHE), ldcache::MAX_CACHE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            result => result?,
        };
        Ok(Self {
            cache,
            outer: host.names(Path::new(OUTER_LIBRARIES)),
        })
    }

    /// Libraries whose names begin with one of `beginnings`, each name once, the loader's choice.
    /// Absolute paths are taken as they are, with the links beside them that lead there.
    pub fn select(&self, host: &HostRoot<'_>, beginnings: &[String]) -> Vec<HostLibrary> {
        let mut found = Selection::default();
        let (paths, beginnings): (Vec<&String>, Vec<&String>) =
            beginnings.iter().partition(|name| name.starts_with('/'));
        for path in paths {
            found.add_with_links(host, Path::new(path));
        }
        let wanted = |name: &OsStr| {
            beginnings
                .iter()
                .any(|beginning| name.as_bytes().starts_with(beginning.as_bytes()))
        };
        for name in self.outer.iter().filter(|name| wanted(name)) {
            found.add(host, name, &Path::new(OUTER_LIBRARIES).join(name));
        }
        for entry in ldcache::entries(&self.cache).filter(|entry| wanted(entry.name)) {
            // The name of the file counts, as in Apptainer; it hardly ever differs.
            let name = entry.path.file_name().unwrap_or(entry.name);
            found.add(host, name, entry.path);
        }
        found.libraries
    }
}

/// Libraries so far.
#[derive(Debug, Default)]
struct Selection {
    libraries: Vec<HostLibrary>,
    names: BTreeSet<OsString>,
}

impl Selection {
    /// Adds the library unless its name is taken or it is none that can be loaded.
    fn add(&mut self, host: &HostRoot<'_>, name: &OsStr, path: &Path) -> bool {
        if self.names.contains(name) {
            return false;
        }
        let Some(library) = library(host, name, path) else {
            return false;
        };
        self.names.insert(name.to_owned());
        self.libraries.push(library);
        true
    }

    fn add_with_links(&mut self, host: &HostRoot<'_>, path: &Path) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        if !self.add(host, name, path) {
            return;
        }
        let Ok(real) = host.at(path).canonicalize() else {
            return;
        };
        // libx.so.1.2 answers to libx.so.1 and libx.so as well.
        let text = name.as_bytes();
        let stem = text
            .windows(3)
            .position(|part| part == b".so")
            .and_then(|dot| text.get(..dot + 3))
            .unwrap_or(text);
        for other in host.names(directory) {
            let link = directory.join(&other);
            if other.as_bytes().starts_with(stem)
                && host.at(&link).is_symlink()
                && host
                    .at(&link)
                    .canonicalize()
                    .is_ok_and(|target| target == real)
            {
                self.add(host, &other, &link);
            }
        }
    }
}

/// The library at `path`, where this machine's programs can load it.
pub fn library(host: &HostRoot<'_>, name: &OsStr, path: &Path) -> Option<HostLibrary> {
    let library = Library::read(host.open(path).ok()?)?;
    Some(HostLibrary {
        name: name.to_string_lossy().into_owned(),
        path: host.at(path),
        needs: GlibcVersion::newest(&library.needed_versions()),
    })
}

/// The same under its SONAME, where it has one.
pub fn library_by_soname(host: &HostRoot<'_>, name: &OsStr, path: &Path) -> Option<HostLibrary> {
    let library = Library::read(host.open(path).ok()?)?;
    let soname = library.soname().filter(|soname| !soname.contains('/'));
    Some(HostLibrary {
        name: soname.unwrap_or_else(|| name.to_string_lossy().into_owned()),
        path: host.at(path),
        needs: GlibcVersion::newest(&library.needed_versions()),
    })
}

/// Programs of these names on `path_variable` (the caller's PATH) or in the usual places.
pub fn programs(
    host: &HostRoot<'_>,
    names: &[String],
    path_variable: Option<&OsStr>,
) -> Vec<HostFile> {
    let directories: Vec<PathBuf> = std::env::split_paths(path_variable.unwrap_or_default())
        .chain(std::env::split_paths(DEFAULT_PATH))
        .filter(|directory| directory.is_absolute())
        .collect();
    let executable = |path: &Path| {
        std::fs::metadata(host.at(path))
            .is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
    };
    names
        .iter()
        .filter_map(|name| {
            let source = directories
                .iter()
                .map(|directory| directory.join(name))
                .find(|path| executable(path))?;
            Some(HostFile {
                source: host.at(&source),
                destination: Path::new(PROGRAMS).join(name),
                writable: false,
            })
        })
        .collect()
}

/// Files that the host has, at their own places.
pub fn files(host: &HostRoot<'_>, paths: &[PathBuf]) -> Vec<HostFile> {
    paths
        .iter()
        .filter(|path| host.exists(path))
        .map(|path| HostFile {
            source: host.at(path),
            destination: path.clone(),
            writable: false,
        })
        .collect()
}
