//! The host's GPU drivers.

use std::path::Path;

use super::{Inputs, Point, StepList};
use crate::gpu::{GpuPlan, LIBRARIES};
use crate::host::PathKind;
use crate::mount::MountSource;
use crate::plan::userbinds::UserBinds;
use crate::report::{Level, Report};

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
