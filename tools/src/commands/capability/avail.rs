//! `capability avail`: what each capability is for, in short.

use anyhow::bail;
use skiff_launcher::config::capabilities::{NAMES, split};

use crate::cli::admin::{NameArgs, word};
use crate::exit::ExitStatus;
use crate::output;

/// One line for each of [`NAMES`].
const MEANINGS: [&str; NAMES.len()] = [
    "Give files to any user and group.",
    "Read, write and execute files without permission.",
    "Read files and search directories without permission; open files by handle.",
    "Do what only a file's owner may: change its mode, times, attributes and access lists.",
    "Keep set-uid and set-gid bits of files that are changed; set them for foreign groups.",
    "Send signals to anybody's processes.",
    "Become any group and have any supplementary groups.",
    "Become any user.",
    "Pass capabilities on: inheritable and bounding sets, secure bits.",
    "Make files immutable or append-only, and undo it.",
    "Listen on ports below 1024.",
    "Broadcast and multicast (without effect in Linux).",
    "Configure networks: interfaces, routes, firewalls, promiscuous mode.",
    "Open raw and packet sockets.",
    "Lock any amount of memory.",
    "Use anybody's System V semaphores, queues and shared memory.",
    "Load and unload kernel modules.",
    "Touch I/O ports, physical memory and raw devices.",
    "Change the root directory (chroot) and join mount namespaces.",
    "Trace any process, read and write its memory.",
    "Turn process accounting on and off.",
    "Administer the system: mount, name, swap, namespaces and much else.",
    "Reboot, and load another kernel.",
    "Raise priorities, set real-time scheduling and processors of any process.",
    "Exceed limits, quotas and reserves.",
    "Set the clocks.",
    "Configure and hang up terminals.",
    "Make device nodes.",
    "Take leases on any file.",
    "Write to the kernel's audit log.",
    "Configure auditing.",
    "Give capabilities to files.",
    "Override mandatory access control (Smack).",
    "Administer mandatory access control (Smack).",
    "Read and clear the kernel's log, see kernel addresses.",
    "Set alarms that wake the machine.",
    "Keep the machine from being suspended.",
    "Read the audit log from the kernel.",
    "Watch performance: counters and tracing.",
    "Load BPF programs and make BPF maps.",
    "Restore processes: choose process ids, read map_files.",
];

/// `capability avail`
///
/// # Errors
/// Unknown capabilities; standard output cannot be written.
pub(super) fn run(args: &NameArgs) -> anyhow::Result<ExitStatus> {
    let wanted = word(&args.words, 0);
    let (known, unknown) = split(if wanted.is_empty() { "all" } else { &wanted });
    if !unknown.is_empty() {
        bail!(
            "Unable to list available capabilities: unknown capabilities found in: {}",
            unknown.join(",")
        );
    }
    let rows = NAMES.iter().zip(MEANINGS);
    let text: String = rows
        .map(|(name, meaning)| (format!("CAP_{name}"), meaning))
        .filter(|(name, _)| known.contains(name))
        .map(|(name, meaning)| format!("{:<22} {name}\n\t{meaning}\n\n", format!("{name}:")))
        .collect();
    output::stdout(text)?;
    Ok(ExitStatus::Success)
}
