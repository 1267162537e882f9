//! Who the program is: which user namespace, which ids in it, which privileges.
//!
//! ```text
//! caller      ordinary user   own ids, no capabilities, none to be gained
//!             root            all that he has
//! --fakeroot  subuid          root and 65536 ids, all capabilities
//!             root-mapped     root alone, under the fakeroot command or a pretending filter
//!             command only    own ids, under the fakeroot command or a filter that answers "root"
//! ```

use serde::Serialize;

use super::{PlanInputs, SecurityPlan, TargetIds};
use crate::config::RootCapabilities;
use crate::error::LaunchError;
use crate::fakeroot::{self, FakerootCommand, FakerootFacts};
use crate::host::{GroupRecord, HostFacts, SecurityModules, UserRecord};
use crate::idmap::IdMap;
use crate::report::{Level, Report};
use crate::request::identity::{FakerootWish, IdentityWish};
use crate::request::{Bind, LaunchRequest};
use crate::security::capabilities;
use crate::security::labels::Label;
use crate::security::seccomp::{self, Filter, Held};

/// How root is played.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    /// The caller as he is.
    Caller,
    /// Root with subordinate ids.
    Subordinate,
    /// Root of a namespace with no other id, or whoever is that already.
    MappedRoot,
    /// Root in appearance only.
    Appearance,
}

/// What the other chapters of the plan need to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IdentityPlan {
    pub(super) role: Role,
    /// Ids of the user namespace; `None`: those that an ordinary launch has.
    pub(super) ids: Option<IdMap>,
    /// A filter pretends that calls of root's succeed.
    pub(super) pretends: bool,
    /// The program runs under this.
    pub(super) command: Option<FakerootCommand>,
    pub(super) security: SecurityPlan,
    /// The user's line of the passwd file: who, and with which numbers.
    pub(super) user: UserRecord,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Lines of the group file.
    pub(super) groups: Vec<GroupRecord>,
    /// Home is /root.
    pub(super) root_home: bool,
}

impl IdentityPlan {
    /// The request with what the role adds to it.
    pub(super) fn amend(&self, request: &LaunchRequest) -> Option<LaunchRequest> {
        let (name, value) = match &self.command {
            Some(_) => ("FAKEROOTDONTTRYCHOWN", "1"),
            None if self.pretends => ("APT_CONFIG", fakeroot::APT_CONFIGURATION),
            None => return None,
        };
        let mut request = request.clone();
        for (source, destination) in self.command.iter().flat_map(FakerootCommand::files) {
            request.binds.push(Bind {
                source: source.to_owned(),
                destination,
                read_only: true,
                image: None,
            });
        }
        let given = |key: &std::ffi::OsStr| key == name;
        if !request.environment.host.iter().any(|(key, _)| given(key)) {
            let variable = (name.to_owned(), value.into());
            request.environment.variables.insert(0, variable);
        }
        Some(request)
    }
}

pub(super) fn plan(
    inputs: &PlanInputs<'_>,
    report: &mut Report<'_>,
) -> Result<IdentityPlan, LaunchError> {
    let PlanInputs { request, facts, .. } = *inputs;
    let wish = &request.identity;
    let mut plan = IdentityPlan {
        role: Role::Caller,
        ids: None,
        pretends: false,
        command: None,
        security: SecurityPlan::default(),
        user: facts.user.clone(),
        uid: facts.uid,
        gid: facts.gid,
        groups: facts.groups.clone(),
        root_home: facts.uid == 0,
    };
    let is_root = facts.uid == 0;
    match (wish.fakeroot, &facts.fakeroot) {
        (Some(wish), Some(found)) => become_root(&mut plan, wish, found, facts, report)?,
        _ if is_root && !wish.userns => {}
        _ => change_ids(&mut plan, wish),
    }
    let as_root = match plan.role {
        Role::Caller => is_root,
        Role::Subordinate | Role::MappedRoot => true,
        Role::Appearance => false,
    };
    privileges(&mut plan, inputs, as_root, report);
    modules(&mut plan, wish, facts.modules)?;
    filters(&mut plan, wish, facts.modules)?;
    Ok(plan)
}

/// `--security uid:, gid:` in a user namespace: the only id has another number.
fn change_ids(plan: &mut IdentityPlan, wish: &IdentityWish) {
    if wish.uid.is_none() && wish.gids.is_empty() && plan.uid != 0 {
        return;
    }
    let uid = wish.uid.unwrap_or(plan.uid);
    let gid = wish.gids.first().copied().unwrap_or(plan.gid);
    plan.ids = Some(IdMap::single(uid, gid));
}

/// `--fakeroot`: the best way that there is.
fn become_root(
    plan: &mut IdentityPlan,
    wish: FakerootWish,
    found: &FakerootFacts,
    facts: &HostFacts,
    report: &mut Report<'_>,
) -> Result<(), LaunchError> {
    let mut info = |text: &str| report(Level::Info, text);
    let root = |plan: &mut IdentityPlan| {
        plan.user = found.root.clone();
        (plan.uid, plan.gid) = (0, 0);
        plan.root_home = true;
    };
    if let Ok(map) = &found.subordinate {
        plan.role = Role::Subordinate;
        plan.ids = Some(map.clone());
        root(plan);
        return Ok(());
    }
    let reason = found
        .subordinate
        .as_ref()
        .err()
        .cloned()
        .unwrap_or_default();
    if facts.is_mapped_root {
        plan.role = Role::MappedRoot;
    } else if facts.uid == 0 {
        return Err(LaunchError::Fakeroot {
            reason: format!("could not use fakeroot: {reason}"),
        });
    } else {
        info("User not listed in /etc/subuid, trying root-mapped namespace");
        if found.can_map_root {
            plan.role = Role::MappedRoot;
            plan.ids = Some(IdMap::single(0, 0));
        } else if wish.ignore_userns {
            plan.role = Role::Appearance;
        } else {
            return Err(LaunchError::Fakeroot {
                reason: "--fakeroot requires either being in /etc/subuid, unprivileged user \
                         namespaces, or the fakeroot command"
                    .to_owned(),
            });
        }
    }
    plan.command.clone_from(&found.command);
    match (&plan.role, plan.command.is_some()) {
        (Role::MappedRoot, true) => {
            info("Using fakeroot command combined with root-mapped namespace");
        }
        (Role::MappedRoot, false) => {
            info("fakeroot command not found, using only root-mapped namespace");
        }
        (_, true) => info("No user namespaces available, using only the fakeroot command"),
        (_, false) => info(
            "No user namespaces available and fakeroot command not found, pretending that calls \
             of root's succeed",
        ),
    }
    if plan.command.is_none() {
        plan.pretends = true;
        plan.security.filters.push(Filter {
            origin: "fakeroot".to_owned(),
            program: seccomp::pretend_root(plan.role == Role::Appearance),
        });
    }
    if plan.role == Role::MappedRoot {
        for group in &found.groups {
            if !plan.groups.contains(group) {
                plan.groups.push(group.clone());
            }
        }
        // Supplementary groups have lost their names.
        plan.groups
            .retain(|group| found.groups.contains(group) || group.gid == plan.gid);
    }
    root(plan);
    Ok(())
}

/// Capabilities, ids of real root, and whether privileges can be gained.
fn privileges(
    plan: &mut IdentityPlan,
    inputs: &PlanInputs<'_>,
    as_root: bool,
    report: &mut Report<'_>,
) {
    let wish = &inputs.request.identity;
    let is_root = inputs.facts.uid == 0;
    let list = |names: &[String], verb: &str, report: &mut Report<'_>| {
        capabilities::parse(names.iter().map(String::as_str), |name| {
            report(
                Level::Warning,
                &format!("won't {verb} unknown capability: {name}"),
            );
        })
    };
    let added = list(&wish.add_capabilities, "add", report);
    let dropped = list(&wish.drop_capabilities, "drop", report);
    let other = wish.uid.is_some_and(|uid| uid != 0) || !wish.gids.is_empty();
    let other = is_root && plan.role == Role::Caller && other;
    if other && plan.ids.is_none() {
        plan.security.ids = Some(TargetIds {
            uid: wish.uid,
            groups: wish.gids.clone(),
        });
    }
    let none = !as_root || other || wish.no_privileges;
    let base = match inputs.config.root_capabilities {
        _ if none => 0,
        // The configuration is about real root.
        _ if plan.role == Role::Subordinate || wish.keep_privileges => capabilities::ALL,
        RootCapabilities::Full => capabilities::ALL,
        RootCapabilities::File => inputs.facts.root_file_capabilities,
        RootCapabilities::No => 0,
    };
    plan.security.capabilities = (base | added) & !dropped;
    plan.security.no_new_privileges = none || plan.role == Role::Subordinate && !is_root;
    plan.security.allow_setuid = wish.allow_setuid && is_root;
}

/// Labels of security modules.
fn modules(
    plan: &mut IdentityPlan,
    wish: &IdentityWish,
    there: SecurityModules,
) -> Result<(), LaunchError> {
    for (label, name, enabled) in [
        (
            wish.selinux.clone().map(Label::Selinux),
            "selinux",
            there.selinux,
        ),
        (
            wish.apparmor.clone().map(Label::Apparmor),
            "apparmor",
            there.apparmor,
        ),
    ] {
        let Some(label) = label else { continue };
        if !enabled {
            return Err(LaunchError::Security {
                reason: format!("{name} requested, but is not enabled or supported on this system"),
            });
        }
        plan.security.labels.push(label);
    }
    Ok(())
}

/// The profile of `--security seccomp:`.
fn filters(
    plan: &mut IdentityPlan,
    wish: &IdentityWish,
    there: SecurityModules,
) -> Result<(), LaunchError> {
    if let Some((path, text)) = &wish.seccomp {
        let held = Held {
            capabilities: plan.security.capabilities,
            kernel: there.kernel,
        };
        let program =
            seccomp::compile(text, held).map_err(|error| LaunchError::SeccompProfile {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        plan.security.filters.push(Filter {
            origin: path.display().to_string(),
            program,
        });
    }
    // A filter needs one or the other.
    if !plan.security.filters.is_empty()
        && plan.security.capabilities & capabilities::SYS_ADMIN == 0
    {
        plan.security.no_new_privileges = true;
    }
    Ok(())
}
