//! From the host to the inside of the container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};
use rustix::thread::UnshareFlags;

use crate::error::{LaunchError, errno_reason, reason};
use crate::idmap::{self, IdMap};
use crate::kernel;
use crate::limits;
use crate::mount::attach::{self, Assembly, RootSource};
use crate::mount::overlay::{self, Lowest, Wishes};
use crate::mount::sandbox::SandboxOptions;
use crate::mount::session::MemoryKind;
use crate::plan::{LaunchPlan, RootPlan, UserNamespace, WorkingDirectory};
use crate::report::{Level, Report};
use crate::rootfs::{Rootfs, RootfsProvider};
use crate::security;

/// Names the step of a failed call.
pub(crate) fn io(step: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |error| LaunchError::Setup {
        step,
        reason: reason(&error),
    }
}

fn errno(step: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |error| LaunchError::Setup {
        step,
        reason: errno_reason(error),
    }
}

/// Gets the mounted image where the plan needs one.
pub(crate) fn provide(
    plan: &LaunchPlan,
    provider: Option<&mut dyn RootfsProvider>,
) -> Result<Option<Rootfs>, LaunchError> {
    match plan.root {
        RootPlan::Sandbox { .. } | RootPlan::Running => Ok(None),
        RootPlan::Mounted => provider
            .ok_or_else(|| LaunchError::NoProvider {
                path: plan.image.clone(),
            })?
            .provide(&plan.bind_points, plan.namespaces.ids.as_ref())
            .map(Some)
            .map_err(LaunchError::Rootfs),
    }
}

/// What is put together before the container.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Trees of images from which data is bound.
    pub(crate) images: Vec<OwnedFd>,
    /// Ends when images that were written to are complete on disk.
    pub(crate) flushed: Option<OwnedFd>,
}

/// Puts the layers of the root together, and the images from which data is bound.
pub(crate) fn prepare_layers(
    plan: &LaunchPlan,
    root: EnteredRoot,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<(EnteredRoot, Layers), LaunchError> {
    let (lowest, bare) = match root {
        root if !plan.writing.is_layered() => (Lowest::None, Some(root)),
        EnteredRoot::Tree(tree) => (Lowest::Tree(tree), None),
        EnteredRoot::Sandbox => (Lowest::Sandbox(&plan.image, &plan.bind_points), None),
    };
    let prepared = overlay::prepare(
        &Wishes {
            plan: &plan.writing,
            lowest,
            memory: MemoryKind::new(plan.ramfs, plan.session_size_mib),
            user_namespace: plan.namespaces.user != UserNamespace::Host,
            ids: plan.namespaces.ids.as_ref(),
            slave: plan.slave,
            plain: false,
        },
        provider,
        report,
    )?;
    let layered = prepared.root.map(EnteredRoot::Tree);
    Ok((
        layered.or(bare).unwrap_or(EnteredRoot::Sandbox),
        Layers {
            images: prepared.images,
            flushed: prepared.flushed,
        },
    ))
}

/// What the root is made from, once the namespaces are entered.
pub(crate) enum EnteredRoot {
    Tree(OwnedFd),
    Sandbox,
}

/// Leaves the host's namespaces; only the user namespace is ever one that exists already. With
/// `keep_pid` that of process ids is left to [`enter_pid_namespace`].
pub(crate) fn enter_namespaces(
    plan: &LaunchPlan,
    rootfs: Option<Rootfs>,
    keep_pid: bool,
) -> Result<EnteredRoot, LaunchError> {
    if let Some(limits) = &plan.limits {
        limits::enter(limits)?;
    }
    if let Some(path) = &plan.network_path {
        join_network(path)?;
    }
    let mut flags = UnshareFlags::NEWNS;
    let mut names = vec!["mount"];
    let new_pid = plan.namespaces.pid.is_some() && !keep_pid;
    for (wanted, flag, name) in [
        (new_pid, UnshareFlags::NEWPID, "PID"),
        (plan.namespaces.ipc, UnshareFlags::NEWIPC, "IPC"),
        (plan.namespaces.uts, UnshareFlags::NEWUTS, "UTS"),
        (plan.namespaces.net, UnshareFlags::NEWNET, "network"),
    ] {
        if wanted {
            flags |= flag;
            names.push(name);
        }
    }
    let unshare = || {
        kernel::unshare(flags).map_err(|error| LaunchError::Namespaces {
            namespaces: names.join(", "),
            reason: reason(&error),
        })
    };
    let joined = rootfs
        .as_ref()
        .and_then(|root| root.user_namespace.as_ref());
    match (plan.namespaces.user, joined) {
        (UserNamespace::New, _) => {
            let own;
            let ids = match &plan.namespaces.ids {
                Some(ids) => ids,
                None => {
                    own = IdMap::own();
                    &own
                }
            };
            idmap::enter_new_user_namespace(ids, flags)?;
        }
        (_, Some(namespace)) => {
            kernel::join_user_namespace(namespace.as_fd()).map_err(|error| {
                LaunchError::JoinUserNamespace {
                    reason: errno_reason(error),
                }
            })?;
            unshare()?;
        }
        (UserNamespace::Image | UserNamespace::Host, None) => unshare()?,
    }
    Ok(rootfs.map_or(EnteredRoot::Sandbox, |rootfs| {
        EnteredRoot::Tree(rootfs.tree)
    }))
}

/// The next child is process 1.
pub(crate) fn enter_pid_namespace() -> Result<(), LaunchError> {
    kernel::unshare(UnshareFlags::NEWPID).map_err(|error| LaunchError::Namespaces {
        namespaces: "PID".to_owned(),
        reason: reason(&error),
    })
}

/// A mount namespace of its own for the container, so that whoever waits for it does not hold it.
pub(crate) fn enter_mount_namespace() -> Result<(), LaunchError> {
    kernel::unshare(UnshareFlags::NEWNS).map_err(|error| LaunchError::Namespaces {
        namespaces: "mount".to_owned(),
        reason: reason(&error),
    })
}

fn join_network(path: &Path) -> Result<(), LaunchError> {
    let failed = |error: Errno| LaunchError::Network {
        path: path.to_owned(),
        reason: errno_reason(error),
    };
    let namespace =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    kernel::join_network_namespace(namespace.as_fd()).map_err(failed)
}

/// A handle on this process, for its child to see whether it still lives.
pub(crate) fn own_handle() -> Result<OwnedFd, LaunchError> {
    rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .map_err(errno("tying process 1 to its parent"))
}

/// Process 1 must not outlive the process that stands for it on the host, `parent`.
pub(crate) fn die_with_parent(parent: &OwnedFd) -> Result<(), LaunchError> {
    let failed = errno("tying process 1 to its parent");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(&failed)?;
    // A parent that died before this was said sends nothing. Its number says nothing either: from
    // within a PID namespace it is 0, dead or alive.
    let mut handles = [PollFd::new(parent, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut handles, Some(&now)) {
        Ok(0) | Err(Errno::INTR) => Ok(()),
        Ok(_) => Err(failed(Errno::SRCH)),
        Err(error) => Err(failed(error)),
    }
}

/// Puts the container together and enters it.
pub(crate) fn build(
    plan: &LaunchPlan,
    root: EnteredRoot,
    images: Vec<OwnedFd>,
    report: &mut Report<'_>,
) -> Result<(), LaunchError> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).map_err(errno("setting the host name"))?;
    }
    if plan.namespaces.net {
        kernel::loopback_up().map_err(io("bringing the loopback interface up"))?;
    }
    let root = match (root, plan.root) {
        (EnteredRoot::Tree(tree), _) => RootSource::Tree(tree),
        (EnteredRoot::Sandbox, kind) => RootSource::Sandbox {
            directory: &plan.image,
            points: &plan.bind_points,
            options: SandboxOptions {
                overlay: kind == RootPlan::Sandbox { overlay: true },
                writable: plan.writing.root,
                user_namespace: plan.namespaces.user != UserNamespace::Host,
            },
        },
    };
    attach::assemble(
        Assembly {
            root,
            steps: &plan.mounts,
            memory: MemoryKind::new(plan.ramfs, plan.session_size_mib),
            slave: plan.slave,
            writable: plan.writing.is_writable(),
            untouched: plan.writing.root,
            images,
        },
        report,
    )?;
    if plan.security.allow_setuid {
        security::allow_set_user_id()?;
    }
    Ok(())
}

/// Last changes to the process that becomes the program.
pub(crate) fn prepare(plan: &LaunchPlan, report: &mut Report<'_>) -> Result<(), LaunchError> {
    change_directory(&plan.working_directory, report)?;
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    kernel::reset_signal_dispositions(false).map_err(io("resetting signals"))?;
    security::apply(&plan.security)
}

fn change_directory(
    working: &WorkingDirectory,
    report: &mut Report<'_>,
) -> Result<(), LaunchError> {
    let mut failed: Option<(&PathBuf, Errno)> = None;
    for path in [&working.path].into_iter().chain(&working.fallbacks) {
        match (rustix::process::chdir(path), failed.take()) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some((tried, error))) => {
                report(
                    Level::Warning,
                    &format!(
                        "Error changing the container working directory. Using '{}' instead: \
                         chdir {}: {}",
                        path.display(),
                        tried.display(),
                        errno_reason(error)
                    ),
                );
                return Ok(());
            }
            (Err(error), _) => failed = Some((path, error)),
        }
    }
    match failed {
        Some((path, error)) => Err(LaunchError::WorkingDirectory {
            path: path.clone(),
            reason: errno_reason(error),
        }),
        None => Ok(()),
    }
}
