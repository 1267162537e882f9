//! GPUs: which of the host's libraries, programs and device nodes a container gets.
//!
//! ```text
//! liblist    nvliblist.conf, rocmliblist.conf: names that make up a driver
//! ldcache    /etc/ld.so.cache: where a library is
//! elf        what a library needs and defines
//! glibc      whether the image's C library is new enough for it
//! select     names to files
//! nvccli     which part of a driver, by NVIDIA_* variables
//! require    NVIDIA_REQUIRE_*
//! cdi        devices by name, as vendors describe them
//! devices    nodes for the small /dev
//! host       the host's files, or a made-up host's
//! ```
//!
//! Planning only reads. Libraries appear in one directory of the session tmpfs, programs and other
//! files exactly at their places; what an image has there, links included, leads nowhere
//! ([`crate::mount::injection`]). Nothing is executed, on either side.

pub mod cdi;
pub mod devices;
pub mod elf;
pub mod glibc;
pub mod host;
pub mod ldcache;
pub mod liblist;
pub mod nvccli;
pub mod require;
pub mod select;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
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

/// Where the service that shares a GPU among processes listens.
const SHARING_PIPES: &str = "/tmp/nvidia-mps";

/// What GPUs add to a launch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GpuPlan {
    /// Libraries, each name once.
    pub libraries: Vec<HostLibrary>,
    /// Programs and other files.
    pub files: Vec<HostFile>,
    /// Nodes for the small /dev.
    pub devices: Vec<PathBuf>,
    /// Variables for the program.
    pub variables: Vec<(OsString, OsString)>,
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
    let host = HostRoot::new(root);
    let failed = |reason| LaunchError::Gpu { reason };
    if !wish.devices.is_empty() {
        let found = cdi::resolve(&host, &wish.devices, &wish.cdi_dirs, report).map_err(failed)?;
        plan.add_libraries(found.libraries);
        plan.files.extend(found.files);
        plan.devices.extend(found.devices);
        plan.variables.extend(found.variables);
    }
    if !nvidia && !rocm {
        return Ok(plan);
    }
    // Before anything is looked for: what is asked for may be impossible.
    let choice = (nvidia && (wish.by_variables || config.nvidia_container_cli))
        .then(|| nvccli::choose(&host, &request.environment.host, request.contain, report))
        .transpose()
        .map_err(failed)?;
    let catalogue = match Catalogue::read(&host) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            let reason = crate::error::reason(&error);
            let word = if nvidia { "nv" } else { "ROCm" };
            report(
                Level::Warning,
                &format!("While finding {word} bind points: could not retrieve ld cache: {reason}"),
            );
            return Ok(plan);
        }
    };
    if rocm {
        plan.add_platform(request, &host, &catalogue, Platform::Rocm, report);
        plan.devices.extend(devices::rocm(&host));
    }
    if nvidia {
        plan.add_services(request, &host, report);
        match choice {
            Some(choice) => {
                plan.add_list(request, &host, &catalogue, &choice.list);
                plan.devices.extend(choice.devices);
                plan.variables.extend(choice.variables);
            }
            None => {
                plan.add_platform(request, &host, &catalogue, Platform::Nvidia, report);
                plan.devices.extend(devices::nvidia(&host));
            }
        }
    }
    Ok(plan)
}

/// A variable of the caller.
fn variable<'a>(request: &'a LaunchRequest, wanted: &str) -> Option<&'a OsStr> {
    let host = &request.environment.host;
    let found = host.iter().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.as_os_str())
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
    fn add_platform(
        &mut self,
        request: &LaunchRequest,
        host: &HostRoot<'_>,
        catalogue: &Catalogue,
        platform: Platform,
        report: &mut Report<'_>,
    ) {
        match LibList::find(host, platform) {
            Ok(list) => {
                self.add_list(request, host, catalogue, &list);
                if request.writing.writable && !self.files.is_empty() {
                    let word = if platform == Platform::Rocm {
                        "rocm"
                    } else {
                        "nv"
                    };
                    report(
                        Level::Warning,
                        &format!("{word} files may not be bound with --writable"),
                    );
                }
            }
            Err(text) => {
                let word = platform.word();
                report(
                    Level::Warning,
                    &format!("While finding {word} bind points: {text}"),
                );
            }
        }
    }

    fn add_list(
        &mut self,
        request: &LaunchRequest,
        host: &HostRoot<'_>,
        catalogue: &Catalogue,
        list: &LibList,
    ) {
        let path_variable = variable(request, "PATH");
        self.files
            .extend(select::programs(host, &list.programs, path_variable));
        self.files.extend(select::files(host, &list.files));
        self.add_libraries(catalogue.select(host, &list.libraries));
    }

    /// Sockets through which the driver's services are reached.
    fn add_services(
        &mut self,
        request: &LaunchRequest,
        host: &HostRoot<'_>,
        report: &mut Report<'_>,
    ) {
        for (index, socket) in SERVICES.iter().map(PathBuf::from).enumerate() {
            if host.exists(&socket) {
                self.files.extend(select::files(host, &[socket]));
            } else if index == 0 {
                let text = format!("persistenced socket {} not found", socket.display());
                report(Level::Verbose, &text);
            }
        }
        // Otherwise /tmp is the host's and has it.
        if request.contain {
            let pipes = variable(request, "CUDA_MPS_PIPE_DIRECTORY");
            let pipes = PathBuf::from(pipes.unwrap_or(OsStr::new(SHARING_PIPES)));
            if pipes.is_absolute() && host.exists(&pipes) {
                let found = select::files(host, &[pipes]);
                self.files.extend(found.into_iter().map(|file| HostFile {
                    writable: true,
                    ..file
                }));
            }
        }
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
        let step = |source, destination, writable: bool| MountStep {
            tag: MountTag::Files,
            source,
            destination,
            flags: MountFlags {
                read_only: !writable,
                ..MountFlags::BIND
            },
            missing: MissingDestination::Warn,
            condition: Condition::Always,
        };
        let mut steps = Vec::new();
        if !self.libraries.is_empty() {
            let libraries = MountSource::Libraries {
                libraries: self.libraries,
                places: Vec::new(),
            };
            steps.push(step(libraries, PathBuf::from(LIBRARIES), false));
        }
        for file in self.files {
            if steps
                .iter()
                .any(|other| other.destination == file.destination)
            {
                continue;
            }
            let source = MountSource::Injected { path: file.source };
            steps.push(step(source, file.destination, file.writable));
        }
        steps
    }
}
