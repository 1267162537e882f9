//! System calls that rustix does not offer safely, with owned descriptors and errors at their edge.
//!
//! Everything here acts on the calling process, which must be single-threaded: namespaces, forks
//! and signal masks are per thread or per process and the launcher never has more than one thread.

mod sys;

pub use sys::{
    Fork, PasswdRecord, ReceivedSignal, SignalMask, block_signals, close_all_but, close_from,
    die_by, execute, exit_now, fork, group_id, group_name, keep_dead_children, lock_range,
    loopback_up, mount_clearattr, mount_setattr, passwd_entry, passwd_record,
    reset_signal_dispositions, restore_signals, send_signal, unblock_signals, unshare,
    wait_for_signal,
};

use std::os::fd::BorrowedFd;

use rustix::thread::LinkNameSpaceType;

/// Joins the namespace behind `namespace`, which is of `kind`.
///
/// # Errors
/// The kernel's refusal.
pub fn join_namespace(
    namespace: BorrowedFd<'_>,
    kind: LinkNameSpaceType,
) -> rustix::io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(kind))
}

/// Joins the user namespace behind `namespace`.
///
/// # Errors
/// The kernel's refusal.
pub fn join_user_namespace(namespace: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::User))
}

/// Joins the network namespace behind `namespace`.
///
/// # Errors
/// The kernel's refusal.
pub fn join_network_namespace(namespace: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}
