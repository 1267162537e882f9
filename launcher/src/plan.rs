//! The plan: everything a launch will do, as a value.
//!
//! [`plan`] decides, [`crate::process::launch`] carries out. A plan can be printed (`Display`,
//! JSON through serde) and compared; making one changes nothing on the machine and asks only the
//! [`HostPaths`] it is given.
//!
//! ```text
//! identity     who the program is, what it may do
//! namespaces   which ones, who is process 1
//! mounts       ordered steps and the bind points they need
//! userbinds    the user's binds: order, duplicates, /dev
//! working      where the program starts
//! writing      layers over the root, where changes go
//! print        the readable form
//! ```

mod identity;
mod mounts;
mod namespaces;
mod print;
mod userbinds;
mod working;
mod writing;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::environment::{self, EnvironmentFile};
use crate::error::LaunchError;
use crate::fakeroot::FakerootCommand;
use crate::gpu;
use crate::host::{HostFacts, HostPaths};
use crate::limits::{self, LimitsPlan};
use crate::mount::MountStep;
use crate::report::Report;
use crate::request::instance::{InstanceRole, InstanceWish};
use crate::request::{HomeWish, LaunchRequest, RootKind};
use crate::rootfs::BindPoint;
use crate::script::{self, ScriptPlan};
use crate::security::labels::Label;
use crate::security::seccomp::Filter;

pub use namespaces::{InitKind, NamespacePlan, UserNamespace};
pub use working::WorkingDirectory;
pub use writing::{Upper, WritingError, WritingPlan};

/// What a launch will do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LaunchPlan {
    /// The image.
    pub image: PathBuf,
    /// How it becomes a root.
    pub root: RootPlan,
    /// Layers over it, and what may be written to.
    pub writing: WritingPlan,
    /// Namespaces.
    pub namespaces: NamespacePlan,
    /// Network namespace that is joined.
    pub network_path: Option<PathBuf>,
    /// Host name in the new UTS namespace.
    pub hostname: Option<String>,
    /// Limit of the session tmpfs.
    pub session_size_mib: u64,
    /// ramfs instead of tmpfs, which has no limit.
    pub ramfs: bool,
    /// Mounts that the host makes later appear in the container.
    pub slave: bool,
    /// Places that the root must have.
    pub bind_points: Vec<BindPoint>,
    /// Mounts, in order.
    pub mounts: Vec<MountStep>,
    /// Home directory in the container: `$HOME`, whether mounted or not.
    pub home: PathBuf,
    /// Where the program starts.
    pub working_directory: WorkingDirectory,
    /// Creation mask of the program.
    pub umask: u32,
    /// A control group of its own.
    pub limits: Option<LimitsPlan>,
    /// Privileges of the program.
    pub security: SecurityPlan,
    /// The program runs under this.
    pub fakeroot: Option<FakerootCommand>,
    /// What is started, and its environment.
    pub script: ScriptPlan,
}

/// How the image becomes a root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootPlan {
    /// A provider mounts it, bind points included.
    Mounted,
    /// The directory is bound; with `overlay`, missing bind points are laid over it.
    Sandbox {
        /// The overlay may be used.
        overlay: bool,
    },
    /// It has become one already: that of a running instance.
    Running,
}

/// What the program may do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SecurityPlan {
    /// Nothing it executes gains privileges.
    pub no_new_privileges: bool,
    /// Capabilities that it has, as far as the caller has them; all others go, those of the
    /// bounding set included.
    pub capabilities: u64,
    /// Ids that root changes to.
    pub ids: Option<TargetIds>,
    /// What security modules make of it.
    pub labels: Vec<Label>,
    /// System call filters.
    pub filters: Vec<Filter>,
    /// Set-user-id programs of the image work.
    pub allow_setuid: bool,
}

/// `--security uid:, gid:` of root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TargetIds {
    /// User.
    pub uid: Option<u32>,
    /// Groups, the primary one first.
    pub groups: Vec<u32>,
}

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct PlanInputs<'a> {
    /// What the user wants.
    pub request: &'a LaunchRequest,
    /// What the administrator allows.
    pub config: &'a Config,
    /// Who asks.
    pub facts: &'a HostFacts,
    /// What is where.
    pub paths: &'a dyn HostPaths,
    /// Files of `--env-file`, from [`environment::read_files`].
    pub environment_files: &'a [EnvironmentFile],
}

impl std::fmt::Debug for PlanInputs<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PlanInputs")
            .field("request", self.request)
            .finish_non_exhaustive()
    }
}

/// Plans a launch. What is left out is told to `report`.
///
/// # Errors
/// The request asks for something impossible or forbidden.
pub fn plan(inputs: &PlanInputs<'_>, report: &mut Report<'_>) -> Result<LaunchPlan, LaunchError> {
    let PlanInputs {
        request,
        config,
        facts,
        ..
    } = *inputs;
    let root = match request.image.kind {
        _ if is_join(request) => RootPlan::Running,
        RootKind::Sandbox if request.image.path == Path::new("/") => {
            return Err(LaunchError::RootAsSandbox);
        }
        RootKind::Sandbox => RootPlan::Sandbox {
            // What is written to is shown as it is.
            overlay: config.enable_overlay && !request.writing.writable,
        },
        RootKind::Mounted => RootPlan::Mounted,
    };
    if let Some(name) = &request.hostname
        && !crate::identity::is_hostname(name)
    {
        return Err(LaunchError::Hostname { name: name.clone() });
    }
    let identity = identity::plan(inputs, report)?;
    let amended = identity.amend(request);
    let request = amended.as_ref().unwrap_or(request);
    let writing = writing::plan(request, config, report)?;
    let network_path = namespaces::network_path(request, config, facts, inputs.paths, report)?;
    let mut namespaces = namespaces::plan(request, config, facts, &identity, report)?;
    namespaces.net &= network_path.is_none();
    let home = home_destination(request, facts, identity.root_home);
    let mut gpu_variables = Vec::new();
    let (mounts, bind_points) = if is_join(request) {
        (Vec::new(), Vec::new())
    } else {
        let mut gpu = gpu::plan(request, config, inputs.paths.root(), report)?;
        gpu_variables.append(&mut gpu.variables);
        mounts::plan(
            &mounts::Inputs {
                request,
                config,
                facts,
                paths: inputs.paths,
                namespaces: &namespaces,
                identity: &identity,
                writing: &writing,
                home: &home,
            },
            gpu,
            report,
        )?
    };
    let mut environment = environment::plan(request, &home, inputs.environment_files)?;
    environment.set(gpu_variables);
    for notice in &environment.notices {
        report(notice.level, &notice.text);
    }
    let working_directory = working::plan(request, &home);
    Ok(LaunchPlan {
        image: request.image.path.clone(),
        root,
        network_path,
        writing,
        hostname: request.hostname.clone().filter(|_| namespaces.uts),
        namespaces,
        session_size_mib: config.session_size_mib,
        ramfs: config.ramfs,
        slave: config.mount_slave,
        bind_points,
        mounts,
        working_directory,
        home,
        umask: if request.no_umask { 0o022 } else { facts.umask },
        limits: limits::plan(request, config.systemd_cgroups, facts.uid == 0, report),
        security: identity.security,
        fakeroot: identity.command,
        script: script::plan(request, environment),
    })
}

/// Whether the container is there already.
fn is_join(request: &LaunchRequest) -> bool {
    request.instance.as_ref().is_some_and(InstanceWish::is_join)
}

/// The home directory's path in the container.
fn home_destination(request: &LaunchRequest, facts: &HostFacts, root: bool) -> PathBuf {
    if let Some(InstanceWish {
        role: InstanceRole::Join { home, .. },
        ..
    }) = &request.instance
    {
        return home.clone();
    }
    match &request.home {
        HomeWish::Custom { destination, .. } => destination.clone(),
        HomeWish::Default | HomeWish::None if root => PathBuf::from("/root"),
        HomeWish::Default | HomeWish::None => host_home(request, facts),
    }
}

/// The home directory on the host: the database's; `$HOME` counts only where the user is unknown
/// to it.
fn host_home(request: &LaunchRequest, facts: &HostFacts) -> PathBuf {
    if !facts.user.home.as_os_str().is_empty() {
        return facts.user.home.clone();
    }
    request
        .environment
        .host
        .iter()
        .find(|(name, value)| name == "HOME" && !value.is_empty())
        .map_or_else(|| PathBuf::from("/"), |(_, value)| PathBuf::from(value))
}

/// `path` without `.`, `..` and doubled slashes, taken as written (no links are looked at).
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
            Component::RootDir | Component::Normal(_) => out.push(component),
        }
    }
    if out.as_os_str().is_empty() {
        out.push("/");
    }
    out
}

#[cfg(test)]
mod tests;
