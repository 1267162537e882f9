//! Devices by name, as the Container Device Interface describes them: `--device vendor/class=name`.
//!
//! ```text
//! spec    a file of /etc/cdi or /var/run/cdi, JSON or YAML, as a value
//! yaml    YAML without its dangers
//! hooks   what a vendor's program would do in the container, done here or refused
//! ```
//!
//! A later directory counts more than an earlier one. Nothing in a specification is trusted beyond
//! what its reader may do anyway: paths are absolute and clean, and its programs are never run.

mod hooks;
mod spec;
mod yaml;

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use self::spec::{Device, Edits, Spec};
use super::host::HostRoot;
use super::select::{self, HostFile};
use crate::mount::HostLibrary;
use crate::report::{Level, Report};

/// Where specifications are, the more important last.
const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// More than any specification, and more than any directory of them.
const MAX_SPEC: u64 = 4 << 20;
const MAX_FILES: usize = 1000;

/// Variables that a specification cannot set: they have flags of their own.
const KEPT: [&str; 2] = ["HOME", "PATH"];

/// What the devices bring.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Libraries under the names that programs ask for.
    pub libraries: Vec<HostLibrary>,
    /// Mounts.
    pub files: Vec<HostFile>,
    /// Nodes under /dev.
    pub devices: Vec<PathBuf>,
    /// Variables.
    pub variables: Vec<(OsString, OsString)>,
}

/// A specification and where it comes from.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// Position of its directory.
    rank: usize,
    spec: Spec,
}

/// Resolves `devices` in `directories` (the usual ones when empty).
///
/// # Errors
/// One line about a device that cannot be had.
pub fn resolve(
    host: &HostRoot<'_>,
    devices: &[String],
    directories: &[PathBuf],
    report: &mut Report<'_>,
) -> Result<Found, String> {
    let usual: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    let directories = if directories.is_empty() {
        &usual
    } else {
        directories
    };
    let mut names: Vec<Name<'_>> = Vec::new();
    for device in devices {
        let name = Name::parse(device)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let sources = read_all(host, directories, report);
    let mut found = Found::default();
    let mut used: Vec<&Path> = Vec::new();
    for name in &names {
        let (source, device) = name.find(&sources, directories)?;
        if !used.contains(&source.path.as_path()) {
            used.push(&source.path);
            found.add(host, &source.spec.edits, &source.path, report)?;
        }
        found.add(host, &device.edits, &source.path, report)?;
    }
    Ok(found)
}

/// `vendor/class=name`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Name<'a> {
    whole: &'a str,
    kind: &'a str,
    device: &'a str,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (kind, device) = text.split_once('=').ok_or_else(|| {
            format!(
                "{text:?} is not the name of a CDI device: vendor/class=name, as in \
                 nvidia.com/gpu=0"
            )
        })?;
        if !spec::is_kind(kind) || !spec::is_device_name(device) {
            return Err(format!(
                "{text:?} is not the name of a CDI device: vendor/class=name, as in \
                 nvidia.com/gpu=0"
            ));
        }
        Ok(Self {
            whole: text,
            kind,
            device,
        })
    }

    /// The device in the most important directory that has it.
    fn find<'s>(
        &self,
        sources: &'s [Source],
        directories: &[PathBuf],
    ) -> Result<(&'s Source, &'s Device), String> {
        let candidates = sources
            .iter()
            .filter(|source| source.spec.kind == self.kind)
            .filter_map(|source| {
                let mut devices = source.spec.devices.iter();
                let device = devices.find(|device| device.name == self.device)?;
                Some((source, device))
            });
        let best = candidates.clone().map(|(source, _)| source.rank).max();
        let mut best = candidates.filter(|(source, _)| Some(source.rank) == best);
        match (best.next(), best.next()) {
            (Some(only), None) => Ok(only),
            (Some((one, _)), Some((other, _))) => Err(format!(
                "unresolvable CDI devices {}: described in both {} and {}",
                self.whole,
                one.path.display(),
                other.path.display()
            )),
            (None, _) => {
                let places: Vec<_> = directories
                    .iter()
                    .map(|directory| directory.display().to_string())
                    .collect();
                let mut known: Vec<String> = sources
                    .iter()
                    .flat_map(|source| {
                        let kind = &source.spec.kind;
                        let devices = source.spec.devices.iter();
                        devices.map(move |device| format!("{kind}={}", device.name))
                    })
                    .collect();
                known.sort();
                known.truncate(16);
                let known = if known.is_empty() {
                    "no device is described there".to_owned()
                } else {
                    format!("described there: {}", known.join(", "))
                };
                Err(format!(
                    "unresolvable CDI devices {} in {}: {known}",
                    self.whole,
                    places.join(", ")
                ))
            }
        }
    }
}

/// All specifications that can be read.
fn read_all(host: &HostRoot<'_>, directories: &[PathBuf], report: &mut Report<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    for (rank, directory) in directories.iter().enumerate() {
        for name in host.names(directory).into_iter().take(MAX_FILES) {
            let path = directory.join(name);
            let is_yaml = match path.extension().and_then(|text| text.to_str()) {
                Some("json") => false,
                Some("yaml") => true,
                _ => continue,
            };
            let spec = host
                .read(&path, MAX_SPEC)
                .map_err(|error| crate::error::reason(&error))
                .and_then(|text| Spec::parse(&text, is_yaml));
            match spec {
                Ok(spec) => sources.push(Source { path, rank, spec }),
                Err(reason) => report(
                    Level::Warning,
                    &format!("CDI specification {} is left out: {reason}", path.display()),
                ),
            }
        }
    }
    sources
}

impl Found {
    fn add(
        &mut self,
        host: &HostRoot<'_>,
        edits: &Edits,
        origin: &Path,
        report: &mut Report<'_>,
    ) -> Result<(), String> {
        for variable in &edits.env {
            match variable.split_once('=') {
                Some((name, _)) if KEPT.contains(&name) => report(
                    Level::Warning,
                    &format!("{}: {name} is not set", origin.display()),
                ),
                Some((name, value)) if !name.is_empty() && !variable.contains('\0') => {
                    self.variables.push((name.into(), value.into()));
                }
                _ => {
                    return Err(format!(
                        "{}: env {variable:?} is no NAME=value",
                        origin.display()
                    ));
                }
            }
        }
        for node in &edits.device_nodes {
            let path = Path::new(&node.path);
            if !is_clean(path) || !path.starts_with("/dev") || path == Path::new("/dev") {
                return Err(format!(
                    "{}: device node {:?} is not below /dev",
                    origin.display(),
                    node.path
                ));
            }
            match &node.host_path {
                Some(other) if Path::new(other) != path => report(
                    Level::Warning,
                    &format!(
                        "{}: {other} does not appear as {}: device nodes keep their names",
                        origin.display(),
                        node.path
                    ),
                ),
                _ => self.devices.push(path.to_owned()),
            }
        }
        for mount in &edits.mounts {
            let (source, destination) = (
                Path::new(&mount.host_path),
                Path::new(&mount.container_path),
            );
            if !is_clean(source) || !is_clean(destination) || destination == Path::new("/") {
                return Err(format!(
                    "{}: mount {:?} to {:?}: both must be absolute paths without ..",
                    origin.display(),
                    mount.host_path,
                    mount.container_path
                ));
            }
            if !matches!(
                mount.kind.as_deref(),
                None | Some("" | "bind" | "none" | "rbind")
            ) {
                report(
                    Level::Warning,
                    &format!(
                        "{}: {} is left out: only binds are mounted",
                        origin.display(),
                        mount.container_path
                    ),
                );
                continue;
            }
            self.add_library(host, source);
            self.files.push(HostFile {
                source: host.at(source),
                destination: destination.to_owned(),
                writable: !mount.options.iter().any(|option| option == "ro"),
            });
        }
        if !edits.additional_gids.is_empty() {
            report(
                Level::Verbose,
                &format!("{}: groups cannot be added", origin.display()),
            );
        }
        for hook in &edits.hooks {
            hooks::carry_out(hook, self, origin, report);
        }
        Ok(())
    }

    /// A library is also found under its SONAME, as after the vendor's ldconfig hook.
    fn add_library(&mut self, host: &HostRoot<'_>, path: &Path) {
        let Some(name) = path.file_name().filter(|name| {
            name.as_encoded_bytes()
                .windows(3)
                .any(|part| part == b".so")
        }) else {
            return;
        };
        if let Some(library) = select::library_by_soname(host, name, path) {
            self.push_library(library);
        }
    }

    fn push_library(&mut self, library: HostLibrary) {
        if !self
            .libraries
            .iter()
            .any(|other| other.name == library.name)
        {
            self.libraries.push(library);
        }
    }
}

/// Absolute, and made of names only.
fn is_clean(path: &Path) -> bool {
    path.is_absolute()
        && !path.as_os_str().as_encoded_bytes().contains(&0)
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests;
