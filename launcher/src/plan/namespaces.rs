//! Which namespaces are new and who is process 1.

use std::path::PathBuf;

use serde::Serialize;

use super::identity::IdentityPlan;
use crate::config::Config;
use crate::error::{LaunchError, reason};
use crate::host::{HostFacts, HostPaths};
use crate::idmap::IdMap;
use crate::report::{Level, Report};
use crate::request::{LaunchRequest, RootKind};

/// Where the user namespace comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNamespace {
    /// The caller's own.
    Host,
    /// The one that owns the mounted image, shared by all programs in it; never a nested one.
    Image,
    /// A new one of this launch alone.
    New,
}

/// Process 1 of a new PID namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitKind {
    /// Ours: reaps what is orphaned and passes signals on to the program.
    Shim,
    /// The program itself.
    Payload,
}

/// The namespaces of a launch; a mount namespace is always new.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NamespacePlan {
    /// User namespace.
    pub user: UserNamespace,
    /// Ids in the user namespace; `None`: user and group keep their numbers.
    pub ids: Option<IdMap>,
    /// New PID namespace, with this process 1.
    pub pid: Option<InitKind>,
    /// New IPC namespace.
    pub ipc: bool,
    /// New UTS namespace.
    pub uts: bool,
    /// New network namespace with only a loopback interface.
    pub net: bool,
}

pub(super) fn plan(
    request: &LaunchRequest,
    config: &Config,
    facts: &HostFacts,
    identity: &IdentityPlan,
    report: &mut Report<'_>,
) -> Result<NamespacePlan, LaunchError> {
    let user = match request.image.kind {
        _ if facts.privileged && identity.ids.is_none() => UserNamespace::Host,
        _ if !config.allow_user_ns => {
            return Err(LaunchError::NoUserNamespaces);
        }
        RootKind::Mounted => UserNamespace::Image,
        RootKind::Sandbox => UserNamespace::New,
    };
    let mut allowed = |wanted: bool, allowed: bool, name: &str| {
        if wanted && !allowed {
            report(
                Level::Warning,
                &format!("Not virtualizing {name} namespace by configuration"),
            );
        }
        wanted && allowed
    };
    let wish = request.namespaces;
    // In the order in which Apptainer looks at them.
    let ipc = allowed(wish.ipc, config.allow_ipc_ns, "ipc");
    let pid = allowed(wish.pid, config.allow_pid_ns, "pid");
    let uts = wish.uts || request.hostname.is_some();
    let uts = allowed(uts, config.allow_uts_ns, "uts");
    Ok(NamespacePlan {
        user,
        ids: identity.ids.clone(),
        pid: pid.then_some(if wish.no_init {
            InitKind::Payload
        } else {
            InitKind::Shim
        }),
        ipc,
        uts,
        net: wish.net,
    })
}

/// The network namespace to join (`--netns-path`): root may join any, others one that
/// `allow netns paths` lists, as far as the kernel lets them.
pub(super) fn network_path(
    request: &LaunchRequest,
    config: &Config,
    facts: &HostFacts,
    paths: &dyn HostPaths,
    report: &mut Report<'_>,
) -> Result<Option<PathBuf>, LaunchError> {
    let Some(path) = &request.limits.netns_path else {
        return Ok(None);
    };
    if request.namespaces.net {
        report(
            Level::Warning,
            "cannot join existing --netns-path and create a new network namespace with --net/-n",
        );
    }
    paths
        .kind(path)
        .map_err(|error| LaunchError::NetworkPathMissing {
            path: path.clone(),
            reason: reason(&error),
        })?;
    if facts.uid != 0 && !config.netns_paths.contains(path) {
        return Err(LaunchError::NetworkPath { path: path.clone() });
    }
    Ok(Some(path.clone()))
}
