//! The keeper of an instance: a process of the host's PID namespace that makes the container, writes
//! the record and stays until the instance ends.
//!
//! It shows its namespaces to whoever joins; nothing in the container can see it, since it is not
//! in the container's PID namespace. Process 1 is, and closes itself to its neighbours.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::folder::Place;
use super::proc::Proc;
use super::record::{Proof, Record};
use super::share::Watch;
use super::sys;
use crate::error::LaunchError;
use crate::kernel::{self, Fork, SignalMask};
use crate::plan::{InitKind, LaunchPlan, UserNamespace};
use crate::process::{self, Entered, setup, supervise};
use crate::report::Report;
use crate::rootfs::RootfsProvider;
use crate::security;

/// What the new instance is and where it is noted.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) plan: &'a LaunchPlan,
    pub(super) name: &'a str,
    pub(super) user: &'a str,
    pub(super) image_name: String,
    pub(super) log_paths: (PathBuf, PathBuf),
    /// Common parent of those who share it, for `--sharens`: no program is started, and it ends
    /// with the last of them.
    pub(super) parent: Option<Pid>,
}

/// First byte of the answer to whoever started us.
pub(super) const STARTED: u8 = 0;
pub(super) const FAILED: u8 = 1;

/// Leaves the caller's session, terminal and descriptors behind.
pub(super) fn settle(order: &Order<'_>, logs: Option<(File, File)>) -> io::Result<()> {
    rustix::process::setsid()?;
    let null = rustix::fs::openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    match logs {
        Some((out, err)) => {
            rustix::stdio::dup2_stdout(&out)?;
            rustix::stdio::dup2_stderr(&err)?;
        }
        None => {
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
        }
    }
    sys::close_inherited()?;
    // What `ps` shows, and by what Apptainer knows a living instance; a nicety that may fail.
    set_title(&format!(
        "Apptainer instance: {} [{}]",
        order.user, order.name
    ))
    .ok();
    Ok(())
}

/// Overwrites this process's arguments as other processes see them, as far as there is room.
fn set_title(title: &str) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // Fields 48 and 49 of the whole line.
    let mut places = fields
        .split_ascii_whitespace()
        .skip(45)
        .map(str::parse::<u64>);
    let (Some(Ok(start)), Some(Ok(end))) = (places.next(), places.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let room = usize::try_from(end.saturating_sub(start))
        .unwrap_or(0)
        .min(4096);
    // A zero at the very end says that nothing of the environment belongs to it.
    let mut text: Vec<u8> = title.bytes().take(room.saturating_sub(1)).collect();
    text.resize(room, 0);
    let memory = File::options().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&text, start)
}

/// What the keeper holds of the host; process 1 must have none of it.
struct Host {
    proc: Proc,
    place: Place,
    /// Where whoever started us waits.
    answer: File,
    /// For instances that are shared.
    watch: Option<Watch>,
}

/// Makes the instance and keeps it; gives the exit code of the keeper. `answer` is told how the
/// start went.
pub(super) fn keep(
    order: &Order<'_>,
    place: Place,
    answer: OwnedFd,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> u8 {
    let mut answer = File::from(answer);
    let watch = order.parent.map(Watch::new).transpose();
    let (proc, watch) = match Proc::open().and_then(|proc| Ok((proc, watch?))) {
        Ok(found) => found,
        Err(error) => return refuse(&mut answer, &error.to_string()),
    };
    let mut host = Some(Host {
        proc,
        place,
        answer,
        watch,
    });
    let made = make(order, &mut host, provider, report);
    let Some(Host {
        proc,
        place,
        mut answer,
        watch,
    }) = host
    else {
        return u8::MAX;
    };
    let first = match made {
        Ok(first) => first,
        Err(error) => return refuse(&mut answer, &error.to_string()),
    };
    // Whoever started us may be gone: the instance is there all the same.
    let _gone = answer.write_all(&[&[STARTED], first.to_string().as_bytes()].concat());
    drop(answer);
    let own = rustix::process::getpid().as_raw_pid();
    let code = match watch {
        Some(watch) => {
            watch.wait(&proc, &place, &[own, first]);
            if first != own {
                kernel::send_signal(first, libc::SIGKILL);
                let _ended = waitpid(Pid::from_raw(first), WaitOptions::empty());
            }
            0
        }
        None => supervise::outer_code(first).unwrap_or(u8::MAX),
    };
    place.remove_of(own);
    code
}

fn refuse(answer: &mut File, reason: &str) -> u8 {
    // Nobody else is left to tell.
    let _gone = answer.write_all(&[&[FAILED], reason.as_bytes()].concat());
    u8::MAX
}

/// Makes the container and writes the record; gives the number of process 1, or of this process
/// where there is none.
fn make(
    order: &Order<'_>,
    host: &mut Option<Host>,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<i32, LaunchError> {
    let plan = order.plan;
    let own = rustix::process::getpid().as_raw_pid();
    let mask = kernel::block_signals().map_err(setup::io("blocking signals"))?;
    // Who joins finds the mounts of this process; so whatever serves a layer that is written to is
    // not waited for, since that lasts as long as they.
    let Entered {
        root,
        images,
        prepares,
        flushed: _,
    } = process::enter(plan, provider, report)?;
    if prepares && plan.namespaces.pid.is_some() {
        setup::enter_pid_namespace()?;
    }
    let root = (root, images);
    let first = match plan.namespaces.pid {
        Some(init) => fork_init(order, init, root, &mask, host, report)?,
        None if order.parent.is_some() => {
            setup::build(plan, root.0, root.1, report)?;
            security::apply_to_supervisor(&plan.security)?;
            own
        }
        None => {
            return Err(LaunchError::Relayed {
                reason: "an instance needs a PID namespace, which the configuration does not \
                         allow (allow pid ns)"
                    .to_owned(),
            });
        }
    };
    let written = match host {
        Some(host) => note(order, host, own, first),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    if let Err(error) = written {
        if first != own {
            kernel::send_signal(first, libc::SIGKILL);
        }
        return Err(setup::io("writing the instance's record")(error));
    }
    if first == own {
        // There is no process to pass signals on to.
        kernel::restore_signals(&mask).map_err(setup::io("restoring signals"))?;
    }
    Ok(first)
}

/// Writes the record and lets others see it.
fn note(order: &Order<'_>, host: &Host, own: i32, first: i32) -> io::Result<()> {
    let plan = order.plan;
    let start_of = |pid| Some(host.proc.look(pid).ok()??.start);
    let record = Record {
        pid: first,
        ppid: own,
        name: order.name.to_owned(),
        user: order.user.to_owned(),
        image: plan.image.to_string_lossy().into_owned(),
        config: String::new(),
        userns: plan.namespaces.user != UserNamespace::Host,
        cgroup: false,
        ip: String::new(),
        log_err_path: order.log_paths.1.to_string_lossy().into_owned(),
        log_out_path: order.log_paths.0.to_string_lossy().into_owned(),
        checkpoint: String::new(),
        sharens_mode: order.parent.is_some(),
        skiff: Some(Proof::new(
            host.proc.era()?,
            (
                start_of(own).ok_or(io::ErrorKind::NotFound)?,
                // /proc may hide what closes itself.
                start_of(first).unwrap_or(0),
            ),
            plan,
            &order.image_name,
        )),
    };
    host.place.write(&record)?;
    host.place.unlock();
    Ok(())
}

/// The image's tree, and those from which data is bound.
type Root = (setup::EnteredRoot, Vec<OwnedFd>);

/// Forks process 1 and waits until the program in it has been started.
fn fork_init(
    order: &Order<'_>,
    init: InitKind,
    root: Root,
    mask: &SignalMask,
    host: &mut Option<Host>,
    report: &mut Report<'_>,
) -> Result<i32, LaunchError> {
    let (heard, told) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| setup::io("making a pipe")(errno.into()))?;
    let handle = setup::own_handle()?;
    match kernel::fork().map_err(setup::io("starting process 1"))? {
        Fork::Parent(child) => {
            drop((told, root, handle));
            security::apply_to_supervisor(&order.plan.security)?;
            let mut trouble = String::new();
            File::from(heard)
                .read_to_string(&mut trouble)
                .map_err(setup::io("hearing from process 1"))?;
            if trouble.is_empty() {
                return Ok(child);
            }
            // Process 1 stays when only the program could not be started.
            kernel::send_signal(child, libc::SIGKILL);
            let _ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
            Err(LaunchError::Relayed { reason: trouble })
        }
        Fork::Child => {
            drop(heard);
            *host = None;
            let mut told = Some(File::from(told));
            let tied = setup::die_with_parent(&handle);
            drop(handle);
            let built = tied.and_then(|()| inside(order, init, root, mask, &mut told, report));
            let code = match built {
                Ok(code) => code,
                Err(error) => {
                    if let Some(told) = &mut told {
                        // The keeper may be gone: then so are we.
                        let _gone = told.write_all(error.to_string().as_bytes());
                    }
                    u8::MAX
                }
            };
            kernel::exit_now(i32::from(code))
        }
    }
}

/// In the new PID namespace: builds the container and starts the program. Returns, in process 1 or
/// in the program's process, with the exit code to end with.
fn inside(
    order: &Order<'_>,
    init: InitKind,
    root: Root,
    mask: &SignalMask,
    told: &mut Option<File>,
    report: &mut Report<'_>,
) -> Result<u8, LaunchError> {
    let plan = order.plan;
    setup::build(plan, root.0, root.1, report)?;
    let program = if order.parent.is_some() {
        None
    } else if init == InitKind::Payload {
        return become_program(plan, mask, report);
    } else {
        match kernel::fork().map_err(setup::io("starting the program"))? {
            Fork::Parent(child) => Some(child),
            Fork::Child => return become_program(plan, mask, report),
        }
    };
    security::close_to_others()?;
    security::apply_to_supervisor(&plan.security)?;
    drop(told.take());
    supervise::init_of_instance(program)
}

/// Becomes the start script, in a process group of its own, to which signals are passed on.
fn become_program(
    plan: &LaunchPlan,
    mask: &SignalMask,
    report: &mut Report<'_>,
) -> Result<u8, LaunchError> {
    rustix::process::setpgid(None, None)
        .map_err(|errno| setup::io("making a process group")(errno.into()))?;
    kernel::restore_signals(mask).map_err(setup::io("restoring signals"))?;
    match process::start(plan, report)? {
        0 => Ok(0),
        code => Err(LaunchError::Relayed {
            reason: format!("the container's scripts ended with exit status {code}"),
        }),
    }
}
