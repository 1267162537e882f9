//! The host's GPU drivers.

use std::path::Path;

use super::{Inputs, Point, StepList};
use crate::error::LaunchError;
use crate::gpu::host::HostRoot;
use crate::gpu::select;
use crate::gpu::{GpuPlan, LIBRARIES};
use crate::host::PathKind;
use crate::mount::{HostLibrary, MountSource};
use crate::plan::userbinds::UserBinds;
use crate::report::{Level, Report};

/// Adds to `gpu` the libraries that the user names one by one (`--containlibs`).
pub(super) fn add_named(gpu: &mut GpuPlan, inputs: &Inputs<'_>) -> Result<(), LaunchError> {
    let wish = &inputs.request.gpu.libraries;
    if wish.is_empty() {
        return Ok(());
    }
    let host = HostRoot::new(inputs.paths.root());
    for path in wish {
        let Some(name) = path.file_name() else {
            continue;
        };
        if inputs.paths.kind(path).is_err() {
            return Err(LaunchError::MissingSource {
                source_path: path.clone(),
                destination: Path::new(LIBRARIES).join(name),
            });
        }
        // Any other file is given as it is, as by Apptainer.
        let library = select::library(&host, name, path).unwrap_or_else(|| HostLibrary {
            name: name.to_string_lossy().into_owned(),
            path: path.clone(),
            needs: None,
        });
        if !gpu.libraries.iter().any(|other| other.name == library.name) {
            gpu.libraries.push(library);
        }
    }
    Ok(())
}

/// Adds what `gpu` has found. The user's `binds` may add to the directory of libraries.
pub(super) fn add(
    gpu: GpuPlan,
    inputs: &Inputs<'_>,
    binds: &UserBinds,
    list: &mut StepList,
    report: &mut Report<'_>,
) {
    if !inputs.config.user_bind_control {
        for (there, what) in [
            (!gpu.libraries.is_empty(), "libraries"),
            (!gpu.files.is_empty(), "binaries"),
        ] {
            if there {
                report(
                    Level::Warning,
                    &format!(
                        "Ignoring {what} bind request: user bind control disabled by system \
                         administrator"
                    ),
                );
            }
        }
        return;
    }
    for mut step in gpu.into_steps() {
        let point = match &mut step.source {
            MountSource::Libraries { places, .. } => {
                let inside = binds.binds.iter().filter(|bind| {
                    bind.kind == PathKind::File
                        && bind.destination.parent() == Some(Path::new(LIBRARIES))
                });
                let names = inside.filter_map(|bind| bind.destination.file_name());
                places.extend(names.map(|name| name.to_string_lossy().into_owned()));
                Point::MadeThroughDirectories
            }
            MountSource::Injected { path } => {
                Point::Made(inputs.paths.kind(path).unwrap_or(PathKind::File))
            }
            _ => continue,
        };
        list.add(step, point);
    }
}
