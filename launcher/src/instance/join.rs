//! Starting one more program in a running instance.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::LinkNameSpaceType;

use super::folder::Place;
use super::proc::Proc;
use super::record::Live;
use super::share::Claimed;
use super::sys;
use crate::error::{LaunchError, errno_reason, reason};
use crate::kernel::{self, Fork};
use crate::limits;
use crate::plan::LaunchPlan;
use crate::process::{self, setup, supervise};
use crate::report::Report;
use crate::security;

/// The namespaces of a keeper, in the order in which they can be joined: the user namespace gives
/// the right to the others, and after the mount namespace the host's /proc is out of sight.
const KINDS: [(&str, &str, LinkNameSpaceType); 6] = [
    ("user", "user", LinkNameSpaceType::User),
    ("ipc", "ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", "uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("net", "net", LinkNameSpaceType::Network),
    // The keeper itself stays outside of what it made for process 1.
    ("pid_for_children", "pid", LinkNameSpaceType::ProcessID),
    ("mnt", "mnt", LinkNameSpaceType::Mount),
];

/// Starts the program of `plan` in the instance `live`. As [`process::launch`]: this process
/// becomes the program, or waits for it where it has to be in a PID namespace.
///
/// # Errors
/// What kept the program from starting.
pub fn join(live: &Live, plan: &LaunchPlan, report: &mut Report<'_>) -> Result<u8, LaunchError> {
    enter_and_start(live, None, plan, report)
}

/// As [`join`], for a shared instance, which cannot end before this process is in it.
///
/// # Errors
/// What kept the program from starting.
pub fn join_shared(
    claimed: Claimed,
    plan: &LaunchPlan,
    report: &mut Report<'_>,
) -> Result<u8, LaunchError> {
    let Claimed { live, place, .. } = claimed;
    enter_and_start(&live, Some(place), plan, report)
}

fn enter_and_start(
    live: &Live,
    place: Option<Place>,
    plan: &LaunchPlan,
    report: &mut Report<'_>,
) -> Result<u8, LaunchError> {
    // Before the namespaces, which show no control group of the host.
    limits::join(live.record.ppid)?;
    let namespaces = open(live)?;
    let enters_pid = namespaces
        .iter()
        .any(|(_, kind, _)| *kind == LinkNameSpaceType::ProcessID);
    let mask = kernel::block_signals().map_err(setup::io("blocking signals"))?;
    // From here on programs of the container may see this process, which still has more rights and
    // descriptors than they.
    security::close_to_others()?;
    for (name, kind, namespace) in namespaces {
        kernel::join_namespace(namespace.as_fd(), kind).map_err(|errno| {
            LaunchError::JoinInstance {
                namespace: name,
                reason: errno_reason(errno),
            }
        })?;
    }
    // Until the program is there, which closes it: nobody may look at this process, so that nobody
    // sees that it is in.
    let held = place.as_ref().and_then(Place::hold);
    drop(place);
    if enters_pid {
        let handle = setup::own_handle()?;
        match kernel::fork().map_err(setup::io("starting the program"))? {
            Fork::Parent(child) => {
                drop(handle);
                security::apply_to_supervisor(&plan.security)?;
                return supervise::outer(child, None);
            }
            Fork::Child => setup::die_with_parent(&handle)?,
        }
    }
    kernel::restore_signals(&mask).map_err(setup::io("restoring signals"))?;
    let result = process::start(plan, report);
    drop(held);
    result
}

/// Opens those namespaces of the instance that this process is not in.
fn open(live: &Live) -> Result<Vec<(&'static str, LinkNameSpaceType, OwnedFd)>, LaunchError> {
    let refused = |namespace, error: &io::Error| LaunchError::JoinInstance {
        namespace,
        reason: reason(error),
    };
    let proc = Proc::open().map_err(|error| refused("user", &error))?;
    let keeper = live.record.ppid;
    let mut found = Vec::new();
    for (theirs, name, kind) in KINDS {
        let own = proc.namespace_number("self", name);
        if own.is_some() && own == proc.namespace_number(&keeper.to_string(), theirs) {
            continue;
        }
        let namespace = proc
            .namespace(keeper, theirs)
            .map_err(|error| refused(name, &error))?;
        found.push((name, kind, namespace));
    }
    // Only while the process that was checked lives is its number its own, and what was opened its
    // namespaces.
    sys::signal_process(live.keeper.as_fd(), 0).map_err(|error| refused("user", &error))?;
    Ok(found)
}
