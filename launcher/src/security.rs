//! Privileges of the program, given up just before it starts.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{LaunchError, errno_reason};
use crate::plan::SecurityPlan;

/// Applies `plan` to this process.
///
/// # Errors
/// The kernel's refusal to take a privilege away.
pub fn apply(plan: SecurityPlan) -> Result<(), LaunchError> {
    let failed = |step| {
        move |error: rustix::io::Errno| LaunchError::Setup {
            step,
            reason: errno_reason(error),
        }
    };
    if plan.drop_capabilities {
        for bit in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            // EINVAL is the end of the kernel's list; EPERM means that we hold nothing that could
            // come back, because no new privileges are allowed either.
            if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
                break;
            }
        }
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            },
        )
        .map_err(failed("dropping capabilities"))?;
    }
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(failed("forbidding new privileges"))?;
    }
    Ok(())
}
