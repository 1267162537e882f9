//! Who keeps the room's namespaces: a process that does nothing but live.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, mount_change, move_mount,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, wait, waitpid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::error::{LaunchError, errno_reason};
use crate::idmap::{self, IdMap};
use crate::kernel::{self, Fork};
use crate::mount::tree;
use crate::process::setup;

/// A running keeper and its namespaces.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Our child: it makes the namespaces, and waits for process 1 where there is one.
    guard: i32,
    /// Process 1, the guard's child.
    first: Option<i32>,
    user: Option<OwnedFd>,
    mount: OwnedFd,
    pid: Option<OwnedFd>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // All others die with process 1, before the guard has collected it and ends.
        kernel::send_signal(self.first.unwrap_or(self.guard), libc::SIGKILL);
        // Process 1 ends when all others have been collected, those that have become children of
        // this process among them.
        while let Ok(Some((child, _))) = wait(WaitOptions::empty()) {
            if child.as_raw_nonzero().get() == self.guard {
                return;
            }
        }
    }
}

impl Keeper {
    /// Moves this process into the room; its next child is the first that the PID namespace has it in.
    pub(super) fn enter(&self) -> Result<bool, LaunchError> {
        let failed = |error| LaunchError::Setup {
            step: "entering the build's namespaces",
            reason: errno_reason(error),
        };
        let here = rustix::process::getcwd(Vec::new()).ok();
        if let Some(user) = &self.user {
            kernel::join_user_namespace(user.as_fd()).map_err(failed)?;
        }
        kernel::join_namespace(self.mount.as_fd(), LinkNameSpaceType::Mount).map_err(failed)?;
        if let Some(pid) = &self.pid {
            kernel::join_namespace(pid.as_fd(), LinkNameSpaceType::ProcessID).map_err(failed)?;
        }
        // One that is gone leaves `/`.
        if let Some(here) = here {
            let _gone = rustix::process::chdir(here);
        }
        Ok(self.pid.is_some())
    }
}

/// What the guard and the keeper say.
const READY: u8 = b'r';
const NO_PROC: u8 = b'p';
const FAILED: u8 = b'f';

/// Makes namespaces with `ids`, with one of process ids if that works.
pub(super) fn open(ids: Option<&IdMap>) -> Result<Keeper, LaunchError> {
    match attempt(ids, true)? {
        Some(keeper) => Ok(keeper),
        None => attempt(ids, false)?.ok_or(LaunchError::Setup {
            step: "making the build's namespaces",
            reason: "their first process ended".to_owned(),
        }),
    }
}

/// `None`: no /proc can be had for a PID namespace.
fn attempt(ids: Option<&IdMap>, with_pid: bool) -> Result<Option<Keeper>, LaunchError> {
    let failed = |reason: String| LaunchError::Setup {
        step: "making the build's namespaces",
        reason,
    };
    let errno = |error| failed(errno_reason(error));
    let (hear, say) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(errno)?;
    let handle = setup::own_handle()?;
    let guard = match kernel::fork().map_err(setup::io("making the build's namespaces"))? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop(hear);
            guard(ids, with_pid, &handle, say)
        }
    };
    drop((say, handle));
    let mut words = Vec::new();
    let read = File::from(hear).read_to_end(&mut words);
    let give_up = |error: LaunchError| {
        kernel::send_signal(guard, libc::SIGKILL);
        let _ended = waitpid(Pid::from_raw(guard), WaitOptions::empty());
        error
    };
    read.map_err(|error| give_up(failed(error.to_string())))?;
    let pid = match words.split_first() {
        Some((&READY, number)) => <[u8; 4]>::try_from(number)
            .map(i32::from_ne_bytes)
            .unwrap_or_default(),
        Some((&NO_PROC, _)) => {
            let _ended = waitpid(Pid::from_raw(guard), WaitOptions::empty());
            return Ok(None);
        }
        Some((_, reason)) => {
            let reason = String::from_utf8_lossy(reason).into_owned();
            return Err(give_up(LaunchError::Relayed { reason }));
        }
        None => return Err(give_up(failed("their first process ended".to_owned()))),
    };
    let keeper = if pid > 0 { pid } else { guard };
    let namespace = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(format!("/proc/{keeper}/ns/{name}"), flags, Mode::empty())
            .map_err(|error| give_up(errno(error)))
    };
    Ok(Some(Keeper {
        guard,
        first: with_pid.then_some(pid),
        user: ids.map(|_| namespace("user")).transpose()?,
        mount: namespace("mnt")?,
        pid: with_pid.then(|| namespace("pid")).transpose()?,
    }))
}

/// The guard's life.
fn guard(ids: Option<&IdMap>, with_pid: bool, build: &OwnedFd, say: OwnedFd) -> ! {
    let mut say = File::from(say);
    let mut tell = |kind: u8, text: &[u8]| {
        // Whoever does not listen any more is gone, and we with it.
        let _gone = say.write_all(&[&[kind], text].concat());
    };
    if let Err(error) = enter(ids, with_pid, build) {
        tell(FAILED, error.to_string().as_bytes());
        kernel::exit_now(1);
    }
    if !with_pid {
        tell(READY, &0_i32.to_ne_bytes());
        drop(say);
        live(None);
    }
    let Ok((from_first, first_says)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
        kernel::exit_now(1);
    };
    let Ok(handle) = setup::own_handle() else {
        kernel::exit_now(1);
    };
    match kernel::fork() {
        Ok(Fork::Child) => {
            drop((say, from_first));
            let mut first_says = File::from(first_says);
            let has_proc = setup::die_with_parent(&handle).is_ok() && mount_proc();
            drop(handle);
            let _gone = first_says.write_all(&[u8::from(has_proc)]);
            if !has_proc {
                kernel::exit_now(1);
            }
            drop(first_says);
            live(None)
        }
        Ok(Fork::Parent(first)) => {
            drop(first_says);
            let mut byte = [0];
            match File::from(from_first).read_exact(&mut byte) {
                Ok(()) if byte == [1] => tell(READY, &first.to_ne_bytes()),
                _ => {
                    tell(NO_PROC, &[]);
                    kernel::exit_now(0);
                }
            }
            drop(say);
            live(Some(first))
        }
        Err(error) => {
            tell(FAILED, error.to_string().as_bytes());
            kernel::exit_now(1)
        }
    }
}

fn enter(ids: Option<&IdMap>, with_pid: bool, build: &OwnedFd) -> Result<(), LaunchError> {
    let mut flags = UnshareFlags::NEWNS;
    if with_pid {
        flags |= UnshareFlags::NEWPID;
    }
    match ids {
        Some(ids) => idmap::enter_new_user_namespace(ids, flags)?,
        None => kernel::unshare(flags).map_err(setup::io("making the build's namespaces"))?,
    }
    // Last: to become another user would undo it.
    setup::die_with_parent(build)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|error| LaunchError::Setup {
        step: "changing mount propagation",
        reason: errno_reason(error),
    })
}

/// Mounts the processes of our PID namespace on /proc.
fn mount_proc() -> bool {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    tree::new_mount("proc", &[], flags).is_ok_and(|proc| {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&proc, c"", CWD, c"/proc", flags).is_ok()
    })
}

/// Waits for nothing but the end, its own or that of `first`, and for children.
fn live(first: Option<i32>) -> ! {
    let _name = rustix::thread::set_name(c"skiff-room");
    let _root = rustix::process::chdir("/");
    loop {
        match kernel::wait_for_signal() {
            Ok(signal) if signal.number == libc::SIGCHLD => {
                while let Ok(Some((child, _))) = wait(WaitOptions::NOHANG) {
                    if first == Some(child.as_raw_nonzero().get()) {
                        kernel::exit_now(0);
                    }
                }
            }
            Ok(_) => {}
            Err(_) => kernel::exit_now(1),
        }
    }
}
