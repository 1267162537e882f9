//! What the administrator brings into every container.

use std::path::Path;

use super::super::clean;
use super::{Inputs, Point, StepList, host, step};
use crate::error::{LaunchError, reason};
use crate::host::PathKind;
use crate::identity::LOCAL_HOSTS;
use crate::mount::{FileContent, MountSource, MountTag};
use crate::report::{Level, Report};

/// Binds of the configuration that are there by default.
const ZONE_AND_HOSTS: [&str; 2] = ["/etc/localtime", "/etc/hosts"];

/// Mounts under `/` that `mount hostfs` leaves to the container.
const NOT_HOSTFS: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/boot", "/var"];

/// Every mount directly under `/`.
pub(super) fn hostfs(inputs: &Inputs<'_>, list: &mut StepList, report: &mut Report<'_>) {
    if !inputs.config.mount_hostfs || inputs.request.contain || inputs.unwanted("hostfs") {
        return;
    }
    let mounts = inputs.paths.root_mounts().unwrap_or_else(|error| {
        report(
            Level::Warning,
            &format!("Skipping hostfs mounts: {}", reason(&error)),
        );
        Vec::new()
    });
    for path in mounts {
        if NOT_HOSTFS.iter().any(|not| path == Path::new(not)) {
            continue;
        }
        if let Ok(kind) = inputs.paths.kind(&path) {
            list.add(
                step(MountTag::Hostfs, host(&path), &path),
                Point::Made(kind),
            );
        }
    }
}

/// Binds of the configuration. Contained runs only get the clock and the hosts file; with a
/// network of its own even the hosts file is another one.
pub(super) fn config_binds(
    inputs: &Inputs<'_>,
    list: &mut StepList,
    report: &mut Report<'_>,
) -> Result<(), LaunchError> {
    let Inputs {
        request, config, ..
    } = inputs;
    if inputs.unwanted("bind-paths") {
        return Ok(());
    }
    let hosts = Path::new("/etc/hosts");
    for (source, destination) in &config.bind_paths {
        let destination = clean(destination);
        let named = destination.to_string_lossy();
        if inputs.unwanted(&named) {
            continue;
        }
        if request.contain && destination != hosts && destination != Path::new("/etc/localtime") {
            continue;
        }
        if request.contain && inputs.namespaces.net && destination == hosts {
            list.add(
                step(
                    MountTag::Binds,
                    MountSource::File(FileContent::Text(LOCAL_HOSTS.to_owned())),
                    hosts,
                ),
                Point::Made(PathKind::File),
            );
            continue;
        }
        match inputs.paths.kind(source) {
            Ok(kind) => list.add(
                step(MountTag::Binds, host(source), &destination),
                Point::Made(kind),
            ),
            // Hosts without a clock's zone are many.
            Err(error) if ZONE_AND_HOSTS.iter().any(|path| source == Path::new(path)) => report(
                Level::Verbose,
                &format!(
                    "Skipping mount {} [binds]: {}",
                    source.display(),
                    reason(&error)
                ),
            ),
            Err(error) => {
                report(
                    Level::Warning,
                    &format!(
                        "skipping mount of {0}: stat {0}: {1}",
                        source.display(),
                        reason(&error)
                    ),
                );
                return Err(LaunchError::MissingSource {
                    source_path: source.clone(),
                    destination,
                });
            }
        }
    }
    Ok(())
}
