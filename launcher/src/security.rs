//! Ids and privileges of the program, set just before it starts.
//!
//! ```text
//! capabilities   sets by name
//! labels         SELinux and AppArmor
//! seccomp        system call filters
//! ```

pub mod capabilities;
pub mod labels;
pub mod seccomp;

use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{DumpableBehavior, Gid, Uid};

use crate::error::{LaunchError, errno_reason, reason};
use crate::kernel;
use crate::plan::{SecurityPlan, TargetIds};

fn failed(step: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |error| LaunchError::Setup {
        step,
        reason: errno_reason(error),
    }
}

/// Applies `plan` to this process, which becomes the program.
///
/// # Errors
/// The kernel's refusal of a step: the program must not start with other rights than were planned.
pub fn apply(plan: &SecurityPlan) -> Result<(), LaunchError> {
    // Labels first: without new privileges a security module may refuse to change them.
    for label in &plan.labels {
        label.apply()?;
    }
    // Before the ids change, since that takes the right to do it away.
    capabilities::bound(plan.capabilities);
    if let Some(ids) = &plan.ids {
        rustix::thread::set_keep_capabilities(true).map_err(failed("keeping capabilities"))?;
        change_ids(ids)?;
    }
    restrict(plan, 0)?;
    // Filters last: one that pretends would swallow the calls above.
    plan.filters.iter().try_for_each(seccomp::Filter::install)
}

/// Applies `plan` to a process that only waits for the program: it has no more capabilities than
/// that, but must stay able to do its work.
///
/// # Errors
/// The kernel's refusal to take a privilege away.
pub fn apply_to_supervisor(plan: &SecurityPlan) -> Result<(), LaunchError> {
    capabilities::bound(plan.capabilities);
    // The program is another user, who is sent no signal without it.
    let kept = plan.ids.as_ref().map_or(0, |_| capabilities::KILL);
    restrict(plan, kept)
}

/// Takes privileges away but those planned and, for this process alone, `kept`.
fn restrict(plan: &SecurityPlan, kept: u64) -> Result<(), LaunchError> {
    capabilities::set(plan.capabilities, kept).map_err(|error| LaunchError::Setup {
        step: "setting capabilities",
        reason: reason(&error),
    })?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(failed("forbidding new privileges"))?;
    }
    Ok(())
}

fn change_ids(ids: &TargetIds) -> Result<(), LaunchError> {
    let tie = rustix::process::parent_process_death_signal()
        .map_err(failed("looking at the tie to the parent"))?;
    if let Some((first, _)) = ids.groups.split_first() {
        // A single group replaces the others, too.
        let list: Vec<Gid> = match ids.groups.len() {
            1 => Vec::new(),
            _ => ids.groups.iter().copied().map(Gid::from_raw).collect(),
        };
        rustix::thread::set_thread_groups(&list).map_err(failed("setting groups"))?;
        let gid = Gid::from_raw(*first);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("setting the group"))?;
    }
    if let Some(uid) = ids.uid {
        let uid = Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("setting the user"))?;
    }
    if tie.is_some() {
        // The kernel forgets it with the old ids.
        rustix::process::set_parent_process_death_signal(tie)
            .map_err(failed("tying the program to its parent"))?;
    }
    Ok(())
}

/// Lets set-user-id programs of the container's root, which is the calling process's, work.
///
/// # Errors
/// The kernel's refusal.
pub fn allow_set_user_id() -> Result<(), LaunchError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |error: io::Error| LaunchError::Setup {
        step: "allowing set-user-id programs",
        reason: reason(&error),
    };
    let root = rustix::fs::open("/", flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let clear = u64::from(MountAttrFlags::MOUNT_ATTR_NOSUID.bits());
    kernel::mount_clearattr(root.as_fd(), clear).map_err(failed)
}

/// Shuts this process, and those that it forks, until they become other programs, to everybody
/// else: nothing in a container can trace it, read its memory, or get at the program file of skiff
/// through `/proc/PID/exe`.
///
/// # Errors
/// The kernel's refusal.
pub fn close_to_others() -> Result<(), LaunchError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("closing the process to others"))
}

/// Undoes [`close_to_others`] in a process that is on the way to the program, alone in its PID
/// namespace: a server that fetches the image may then write to its standard error.
///
/// # Errors
/// The kernel's refusal.
pub fn open_to_others() -> Result<(), LaunchError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(failed("opening the process to others"))
}
