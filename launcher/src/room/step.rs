//! One step of a build: a child that works, while the build waits for it and for signals.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};

use super::keeper::Keeper;
use super::{Build, StepError};
use crate::error::LaunchError;
use crate::kernel::{self, Fork};
use crate::process::setup;

/// First byte of what a step says at its end.
const DONE: u8 = 0;
const FAILED: u8 = 1;

/// Signals that end a build.
const ENDINGS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];

/// Does `work` in a child, in the namespaces of `keeper` if there is one.
pub(super) fn run(
    build: &Build,
    keeper: Option<&Keeper>,
    work: impl FnOnce() -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, StepError> {
    let failed = setup::io("starting a step of the build");
    // A memory file, since nobody reads while the step works.
    let answer = rustix::fs::memfd_create(c"answer", MemfdFlags::CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    let mut answer = File::from(answer);
    let handle = setup::own_handle()?;
    let child = match kernel::fork().map_err(&failed)? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let entered = match keeper {
                Some(keeper) => keeper.enter(),
                None => Ok(false),
            };
            let forks = entered.and_then(|forks| setup::die_with_parent(&handle).map(|()| forks));
            let forks = match forks {
                Ok(forks) => forks,
                Err(error) => end(&mut answer, Err(error.to_string())),
            };
            if forks {
                into_pid_namespace(&mut answer);
            }
            let done = match kernel::restore_signals(&build.mask) {
                Ok(()) => catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|_| Err("a step of the build has a fault".to_owned())),
                Err(error) => Err(error.to_string()),
            };
            end(&mut answer, done)
        }
    };
    drop(handle);
    let status = match wait_for(child, !build.cleans_up.get())? {
        Ok(status) => status,
        Err(signal) => {
            kernel::send_signal(child, libc::SIGKILL);
            let _ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
            return Err(StepError::Interrupted(signal));
        }
    };
    let mut said = Vec::new();
    answer
        .seek(SeekFrom::Start(0))
        .and_then(|_| answer.read_to_end(&mut said))
        .map_err(&failed)?;
    match said.split_first() {
        Some((&DONE, said)) => Ok(said.to_vec()),
        Some((_, reason)) => Err(StepError::Failed(
            String::from_utf8_lossy(reason).into_owned(),
        )),
        None => Err(StepError::Failed(match status.terminating_signal() {
            Some(signal) => format!("a step of the build was killed by signal {signal}"),
            None => "a step of the build ended without an answer".to_owned(),
        })),
    }
}

/// Goes on as the first child in the PID namespace; the process itself waits for that one.
fn into_pid_namespace(answer: &mut File) {
    let forked = setup::own_handle().and_then(|handle| {
        let fork = kernel::fork().map_err(setup::io("starting a step of the build"))?;
        Ok((handle, fork))
    });
    match forked {
        Ok((handle, Fork::Child)) => {
            if let Err(error) = setup::die_with_parent(&handle) {
                end(answer, Err(error.to_string()));
            }
        }
        Ok((_, Fork::Parent(child))) => {
            let status = waitpid(Pid::from_raw(child), WaitOptions::empty());
            let status = status.ok().flatten().map(|(_, status)| status);
            if let Some(signal) = status.and_then(WaitStatus::terminating_signal) {
                // With its words, if it had any.
                let _blocked = kernel::unblock_signals();
                kernel::die_by(signal);
            }
            kernel::exit_now(0)
        }
        Err(error) => end(answer, Err(error.to_string())),
    }
}

/// Ends the step with what it has to say.
fn end(answer: &mut File, done: Result<Vec<u8>, String>) -> ! {
    let (kind, text) = match done {
        Ok(said) => (DONE, said),
        Err(reason) => (FAILED, reason.into_bytes()),
    };
    let told = answer
        .write_all(&[kind])
        .and_then(|()| answer.write_all(&text));
    kernel::exit_now(i32::from(told.is_err()))
}

/// Waits for `child`; the error is a signal that ends the build, where such signals are heeded.
fn wait_for(child: i32, heeds: bool) -> Result<Result<WaitStatus, i32>, LaunchError> {
    let ended = || {
        waitpid(Pid::from_raw(child), WaitOptions::NOHANG)
            .ok()
            .flatten()
            .map(|(_, status)| status)
    };
    loop {
        // A signal that came before the child's end is looked at first: it has the lower number.
        let signal = kernel::wait_for_signal().map_err(setup::io("waiting for a step"))?;
        if heeds && ENDINGS.contains(&signal.number) {
            return Ok(Err(signal.number));
        }
        if signal.number == libc::SIGCHLD
            && let Some(status) = ended()
        {
            return Ok(Ok(status));
        }
    }
}

/// Children of this process.
pub(super) fn children() -> Vec<i32> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/self/task/{own}/children"));
    list.unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Kills all children but `others`, and what becomes a child by that, until there is none.
pub(super) fn end_all(others: &[i32]) {
    loop {
        let victims: Vec<i32> = children()
            .into_iter()
            .filter(|child| !others.contains(child))
            .collect();
        if victims.is_empty() {
            return;
        }
        for victim in &victims {
            kernel::send_signal(*victim, libc::SIGKILL);
        }
        for victim in victims {
            let _ended = waitpid(Pid::from_raw(victim), WaitOptions::empty());
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }
}
