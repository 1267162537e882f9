//! GPUs: which of the host's libraries, programs and device nodes a container gets.
//!
//! ```text
//! liblist    nvliblist.conf, rocmliblist.conf: names that make up a driver
//! ldcache    /etc/ld.so.cache: where a library is
//! elf        what a library needs and defines
//! glibc      whether the image's C library is new enough for it
//! select     names to files
//! devices    nodes for the small /dev
//! host       the host's files, or a made-up host's
//! ```
//!
//! Planning only reads. Libraries appear in one directory of the session tmpfs, programs and other
//! files exactly at their places; what an image has there, links included, leads nowhere
//! ([`crate::mount::injection`]). Nothing is executed, on either side.

pub mod devices;
pub mod elf;
pub mod glibc;
pub mod host;
pub mod ldcache;
pub mod liblist;
pub mod select;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::LaunchError;
use crate::mount::{Condition, MissingDestination};
use crate::mount::{HostLibrary, MountFlags, MountSource, MountStep, MountTag};
use crate::report::{Level, Report};
use crate::request::LaunchRequest;
use host::HostRoot;
use liblist::{LibList, Platform};
use select::{Catalogue, HostFile};

/// Where the container sees the host's libraries; images' own scripts put it on LD_LIBRARY_PATH.
pub const LIBRARIES: &str = "/.singularity.d/libs";

/// Sockets of the NVIDIA driver's services.
const SERVICES: [&str; 2] = [
    "/var/run/nvidia-persistenced/socket",
    "/var/run/nvidia-fabricmanager/socket",
];

/// What GPUs add to a launch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GpuPlan {
    /// Libraries, each name once.
    pub libraries: Vec<HostLibrary>,
    /// Programs and other files.
    pub files: Vec<HostFile>,
    /// Nodes for the small /dev.
    pub devices: Vec<PathBuf>,
}

/// Finds what `request` and `config` ask for below `root` (`/`, but for tests).
///
/// # Errors
/// A device that does not exist.
pub fn plan(
    request: &LaunchRequest,
    config: &Config,
    root: &Path,
    report: &mut Report<'_>,
) -> Result<GpuPlan, LaunchError> {
    let wish = &request.gpu;
    let mut plan = GpuPlan::default();
    let nvidia = wish.nvidia
        || wish.by_variables
        || always(config.always_nv && !wish.no_nvidia, "nv", report);
    let rocm = wish.rocm || always(config.always_rocm && !wish.no_rocm, "rocm", report);
    if !nvidia && !rocm {
        return Ok(plan);
    }
    let host = HostRoot::new(root);
    let catalogue = match Catalogue::read(&host) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            report(
                Level::Warning,
                &format!(
                    "While finding nv bind points: could not retrieve ld cache: {}",
                    crate::error::reason(&error)
                ),
            );
            return Ok(plan);
        }
    };
    if rocm {
        plan.add_list(request, &host, &catalogue, Platform::Rocm, report);
        plan.devices.extend(devices::rocm(&host));
    }
    if nvidia {
        for (index, socket) in SERVICES.iter().map(Path::new).enumerate() {
            if host.exists(socket) {
                plan.files
                    .extend(select::files(&host, &[socket.to_owned()]));
            } else if index == 0 {
                let text = format!("persistenced socket {} not found", socket.display());
                report(Level::Verbose, &text);
            }
        }
        plan.add_list(request, &host, &catalogue, Platform::Nvidia, report);
        plan.devices.extend(devices::nvidia(&host));
    }
    Ok(plan)
}

fn always(configured: bool, word: &str, report: &mut Report<'_>) -> bool {
    if configured {
        let text = format!("'always use {word} = yes' found in apptainer.conf");
        report(Level::Verbose, &text);
    }
    configured
}

impl GpuPlan {
    /// Adds what the list of `platform` names.
    fn add_list(
        &mut self,
        request: &LaunchRequest,
        host: &HostRoot<'_>,
        catalogue: &Catalogue,
        platform: Platform,
        report: &mut Report<'_>,
    ) {
        let list = match LibList::find(host, platform) {
            Ok(list) => list,
            Err(text) => {
                let word = if platform == Platform::Rocm {
                    "ROCm"
                } else {
                    "nv"
                };
                report(
                    Level::Warning,
                    &format!("While finding {word} bind points: {text}"),
                );
                return;
            }
        };
        let path_variable = request
            .environment
            .host
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str());
        self.files
            .extend(select::programs(host, &list.programs, path_variable));
        self.files.extend(select::files(host, &list.files));
        self.add_libraries(catalogue.select(host, &list.libraries));
        report(
            Level::Debug,
            &format!(
                "{} libraries and {} files for {}",
                self.libraries.len(),
                self.files.len(),
                platform.word()
            ),
        );
    }

    fn add_libraries(&mut self, libraries: Vec<HostLibrary>) {
        for library in libraries {
            if !self
                .libraries
                .iter()
                .any(|other| other.name == library.name)
            {
                self.libraries.push(library);
            }
        }
    }

    /// The mounts that bring it into the container, in Apptainer's chapter of generated files.
    pub fn into_steps(self) -> Vec<MountStep> {
        let flags = MountFlags {
            read_only: true,
            ..MountFlags::BIND
        };
        let step = |source, destination| MountStep {
            tag: MountTag::Files,
            source,
            destination,
            flags,
            missing: MissingDestination::Warn,
            condition: Condition::Always,
        };
        let mut steps = Vec::new();
        if !self.libraries.is_empty() {
            let libraries = MountSource::Libraries {
                libraries: self.libraries,
                places: Vec::new(),
            };
            steps.push(step(libraries, PathBuf::from(LIBRARIES)));
        }
        for file in self.files {
            if steps
                .iter()
                .any(|other| other.destination == file.destination)
            {
                continue;
            }
            let source = MountSource::Injected { path: file.source };
            steps.push(step(source, file.destination));
        }
        steps
    }
}
