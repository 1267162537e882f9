//! Limits of a container: a control group of its own.
//!
//! ```text
//! Resources ─ plan ─► LimitsPlan ─ enter ─┬─ systemd   a scope, asked for over D-Bus; systemd
//!  (flags, file)                          │            removes it when it is empty
//!                                         └─ cgroupfs  a directory of ours (root, or in a subtree
//!                                                      that was delegated to the user)
//! convert   limits → files and values, for both versions of control groups
//! figures   what a group has used
//! ```
//!
//! Which road is taken depends on the machine and is decided when it is taken: nothing of it is
//! looked at for launches without limits.

mod cgroupfs;
mod convert;
mod dbus;
pub mod figures;
pub mod file;
mod systemd;

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use crate::error::{LaunchError, reason};
use crate::report::{Level, Report};
use crate::request::LaunchRequest;
use crate::request::limits::Resources;

pub use figures::Figures;

/// A control group to be entered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LimitsPlan {
    /// Its limits; none still gives a group, whose use can be read.
    pub resources: Resources,
    /// systemd may be asked for it (`systemd cgroups`).
    pub systemd: bool,
    /// The machine's root asks.
    pub root: bool,
    /// Addresses of the bus of the user's session, best first.
    pub buses: Vec<String>,
    /// The session's bus is named as Apptainer wants it; the variable that is missing.
    pub missing_variable: Option<&'static str>,
}

impl LimitsPlan {
    /// A plan for `resources`, with what the caller's `environment` says about its session.
    pub fn new(
        resources: Resources,
        environment: &[(OsString, OsString)],
        systemd: bool,
        root: bool,
    ) -> Self {
        let variable = |wanted: &str| {
            environment
                .iter()
                .find(|(name, value)| name == wanted && !value.is_empty())
                .map(|(_, value)| value.to_string_lossy().into_owned())
        };
        let bus = variable("DBUS_SESSION_BUS_ADDRESS");
        let folder = variable("XDG_RUNTIME_DIR");
        let missing_variable = if bus.is_none() {
            Some("DBUS_SESSION_BUS_ADDRESS")
        } else {
            folder.is_none().then_some("XDG_RUNTIME_DIR")
        };
        let mut buses: Vec<String> = bus
            .iter()
            .flat_map(|list| list.split(';').map(str::to_owned))
            .collect();
        if let Some(folder) = folder.filter(|folder| Path::new(folder).is_absolute()) {
            buses.push(format!("unix:path={folder}/bus"));
        }
        Self {
            resources,
            systemd,
            root,
            buses,
            missing_variable,
        }
    }
}

impl LimitsPlan {
    /// The limits in one line, as version 2 of control groups has them.
    pub fn summary(&self) -> String {
        let mut words = Vec::new();
        for controller in convert::controllers(&self.resources) {
            match convert::settings(&self.resources, &controller, convert::Version::Two) {
                Ok(settings) => words.extend(
                    settings
                        .iter()
                        .map(|setting| format!("{}={}", setting.files.join("|"), setting.value)),
                ),
                Err(reason) => words.push(reason),
            }
        }
        if words.is_empty() {
            words.push("a control group without limits".to_owned());
        }
        words.join(", ")
    }
}

/// The group that `request` asks for. What only root can limit is left out for others, with a remark.
pub fn plan(
    request: &LaunchRequest,
    systemd: bool,
    root: bool,
    report: &mut Report<'_>,
) -> Option<LimitsPlan> {
    let mut resources = request.limits.resources.clone()?;
    if !root && !resources.devices.is_empty() {
        report(
            Level::Warning,
            "Device limits will not be applied with rootless cgroups",
        );
        resources.devices.clear();
    }
    let environment = &request.environment.host;
    Some(LimitsPlan::new(resources, environment, systemd, root))
}

/// Whether a control group is one that [`enter`] has made, or lies in one. Others may be called
/// much like them: `skiff-jupyter.service`.
fn is_ours(group: &str) -> bool {
    let mut parent = "";
    group.split('/').any(|name| {
        let in_ours = parent == cgroupfs::PARENT && is_fresh(name);
        parent = name;
        let own = name
            .strip_prefix(cgroupfs::PARENT)
            .and_then(|rest| rest.strip_prefix('-'))
            .map(|rest| rest.strip_suffix(".scope").unwrap_or(rest));
        in_ours || own.is_some_and(is_fresh)
    })
}

/// Whether `name` is a process's number and a moment, as both makers of groups put them together.
fn is_fresh(name: &str) -> bool {
    name.split_once('-').is_some_and(|(pid, moment)| {
        !pid.is_empty()
            && !moment.is_empty()
            && pid.bytes().all(|byte| byte.is_ascii_digit())
            && moment
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Puts the calling process into the control groups of the process `pid`, as far as they were made
/// by [`enter`]; where there are none nothing happens. What is started in an instance is limited
/// with it.
///
/// # Errors
/// The kernel does not let us.
pub fn join(pid: i32) -> Result<(), LaunchError> {
    let failed = |reason: String| LaunchError::Setup {
        step: "couldn't add process to instance cgroup",
        reason,
    };
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| failed(format!("open {path}: {}", reason(&error))))?;
    if !text.lines().any(is_ours) {
        return Ok(());
    }
    let machine = cgroupfs::Machine::here().map_err(failed)?;
    for group in machine.groups(&text, is_ours) {
        let Err(error) = cgroupfs::add_self(&group) else {
            continue;
        };
        // A session's own group is outside of what its user may rearrange; systemd may.
        let unit = group.file_name().unwrap_or_default().to_string_lossy();
        if !unit.ends_with(".scope") {
            return Err(failed(error));
        }
        let root = rustix::process::getuid().is_root();
        let environment: Vec<_> = std::env::vars_os().collect();
        let plan = LimitsPlan::new(Resources::default(), &environment, true, root);
        systemd::attach(&unit, &plan).map_err(failed)?;
    }
    Ok(())
}

/// Puts the calling process, and what it starts from now on, into a new control group. It must
/// have one thread and still be in the namespaces of its caller.
///
/// The group goes when the last process in it is gone: systemd sees to it, or a small process of
/// ours that waits for that outside the group.
///
/// # Errors
/// No group can be made here, or a limit is not accepted.
pub fn enter(plan: &LimitsPlan) -> Result<(), LaunchError> {
    let failed = |reason: String| LaunchError::Cgroups { reason };
    let machine = cgroupfs::Machine::here().map_err(failed)?;
    let running = systemd::is_init();
    if plan.systemd && running && machine.is_unified() && (plan.root || !plan.buses.is_empty()) {
        return systemd::enter(plan, &machine).map_err(failed);
    }
    if plan.root {
        return cgroupfs::enter_as_root(&plan.resources, &machine).map_err(failed);
    }
    match cgroupfs::enter_delegated(&plan.resources, &machine) {
        Some(result) => result.map_err(failed),
        // Why Apptainer's only road is closed.
        None => Err(failed(format!(
            "cannot use cgroups - {}",
            if plan.systemd && !running {
                "cannot use systemd cgroups manager, systemd not running as init on this host"
                    .to_owned()
            } else if !plan.systemd {
                "'systemd cgroups' is not enabled in apptainer.conf".to_owned()
            } else if !machine.is_unified() {
                "system is not configured for cgroups v2 in unified mode".to_owned()
            } else {
                format!(
                    "{} is not set",
                    plan.missing_variable.unwrap_or("XDG_RUNTIME_DIR")
                )
            }
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_ours() {
        for group in [
            "/skiff/12-ab000000ff",
            "/skiff/12-ab/below",
            "/user.slice/skiff-12-3f00.scope",
            "/user.slice/user-1000.slice/skiff-7-1a2b/x",
            "0::/skiff/12-ab",
        ] {
            assert!(is_ours(group), "{group}");
        }
        for group in [
            "/",
            "/skiff",
            "/skiff/jupyter",
            "/12-ab",
            "/system.slice/skiff-jupyter.service",
            "/system.slice/skiff-12.service",
            "/system.slice/skiff-12-ab.service",
            "/skiff-.scope",
        ] {
            assert!(!is_ours(group), "{group}");
        }
    }
}
