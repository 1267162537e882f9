//! The user's binds: absolute, without duplicates, shortest first; those under /dev apart.

use std::path::{Path, PathBuf};

use super::clean;
use crate::error::{LaunchError, reason};
use crate::host::{HostPaths, PathKind};
use crate::mount::device::OWN_NAMES;
use crate::report::{Level, Report};
use crate::request::LaunchRequest;
use crate::request::writing::Layer;

/// A bind ready to become a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UserBind {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) read_only: bool,
    pub(super) kind: PathKind,
    /// The image that the bind is from, and the path in it.
    pub(super) image: Option<(Layer, PathBuf)>,
}

/// What the user binds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct UserBinds {
    /// Ordinary ones, in the order of mounting.
    pub(super) binds: Vec<UserBind>,
    /// Nodes for the small /dev.
    pub(super) devices: Vec<PathBuf>,
    /// `/dev` itself is bound: the host's whole one is wanted.
    pub(super) whole_dev: bool,
}

/// How /dev looks before the user's binds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DevState<'a> {
    /// It is the small one.
    pub(super) minimal: bool,
    /// Nodes that the small one has anyway.
    pub(super) nodes: &'a [PathBuf],
}

/// Resolves the binds of `request`.
pub(super) fn resolve(
    request: &LaunchRequest,
    paths: &dyn HostPaths,
    dev: DevState<'_>,
    report: &mut Report<'_>,
) -> Result<UserBinds, LaunchError> {
    let whole = |bind: &crate::request::Bind| {
        clean(&bind.source) == Path::new("/dev") && clean(&bind.destination) == Path::new("/dev")
    };
    let whole_dev = request.binds.iter().any(whole);
    let mut found = UserBinds {
        whole_dev,
        ..UserBinds::default()
    };
    for bind in &request.binds {
        let source = clean(&request.host_cwd.join(&bind.source));
        if !bind.destination.is_absolute() {
            return Err(LaunchError::RelativeDestination {
                source_path: source,
            });
        }
        let destination = clean(&bind.destination);
        if source.starts_with("/dev") && destination.starts_with("/dev") {
            if source != destination {
                let source = source.display();
                report(
                    Level::Warning,
                    &format!(
                        "Skipping {source} bind mount: source and destination must be identical \
                         when binding to /dev"
                    ),
                );
                continue;
            }
            if dev.minimal && !whole_dev {
                add_device(&mut found.devices, dev, source, paths, report);
                continue;
            }
            // The host's /dev shows it already; what is not there fails below like any bind.
            if paths.kind(&source).is_ok() {
                continue;
            }
        }
        let kind = paths.kind(&source).map_err(|error| {
            report(
                Level::Warning,
                &format!(
                    "skipping mount of {0}: stat {0}: {1}",
                    source.display(),
                    reason(&error)
                ),
            );
            LaunchError::MissingSource {
                source_path: source.clone(),
                destination: destination.clone(),
            }
        })?;
        if destination == Path::new("/") {
            report(
                Level::Warning,
                &format!(
                    "Skipping {} bind mount: / cannot be replaced",
                    source.display()
                ),
            );
            continue;
        }
        if found
            .binds
            .iter()
            .any(|bind| bind.destination == destination)
        {
            report(
                Level::Warning,
                &format!(
                    "While bind mounting '{}:{}': destination is already in the mount point list",
                    source.display(),
                    destination.display()
                ),
            );
            continue;
        }
        found.binds.push(UserBind {
            source,
            destination,
            read_only: bind.read_only,
            kind: match &bind.image {
                Some(image) if !image.is_file => PathKind::Directory,
                _ => kind,
            },
            image: bind
                .image
                .as_ref()
                .and_then(|image| Some((image.layer.clone()?, image.inside.clone()))),
        });
    }
    // A directory has to be there before what is bound into it.
    found.binds.sort_by_key(|bind| {
        let destination = bind.destination.as_os_str();
        (bind.destination.components().count(), destination.len())
    });
    Ok(found)
}

fn add_device(
    devices: &mut Vec<PathBuf>,
    dev: DevState<'_>,
    node: PathBuf,
    paths: &dyn HostPaths,
    report: &mut Report<'_>,
) {
    let skip = |why: &str| format!("Skipping {} bind mount: {why}", node.display());
    let present = OWN_NAMES.iter().any(|name| node == Path::new(name))
        || dev.nodes.contains(&node)
        || devices.contains(&node);
    if present {
        report(Level::Warning, &skip("already mounted"));
    } else if let Err(error) = paths.kind(&node) {
        let why = format!("lstat {}: {}", node.display(), reason(&error));
        report(Level::Warning, &skip(&why));
    } else {
        devices.push(node);
    }
}
