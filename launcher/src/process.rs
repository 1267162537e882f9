//! Who forks whom.
//!
//! ```text
//! without PID namespace            with one
//!   launcher ──execve──► program     launcher ── waits, passes signals on, dies the same death
//!                                       └─ process 1 ── init: reaps, passes signals on
//!                                              └─ program
//!                                    with --no-init process 1 becomes the program
//! ```
//! Last of all the image's scripts are evaluated, in the container and with the program's privileges,
//! because they decide what the program is and what it finds in its environment.
//!
//! The process is single-threaded throughout, so that the halves of a fork can go on alike.

pub mod errand;
mod execute;
pub(crate) mod setup;
pub(crate) mod supervise;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::LaunchError;
use crate::fakeroot::{self, FakerootCommand};
use crate::kernel::{self, Fork};
use crate::plan::{InitKind, LaunchPlan};
use crate::report::Report;
use crate::rootfs::RootfsProvider;
use crate::script;
use crate::security;
use setup::Layers;

/// What is executed in the container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// File in the container.
    pub path: PathBuf,
    /// Arguments, the program's name first.
    pub arguments: Vec<OsString>,
    /// Whole environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// What is left to do once the container is entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// Become this program.
    Execute(Program),
    /// Nothing to run: end with this exit code.
    Exit(u8),
}

/// Carries `plan` out. Normally this process becomes the program, so that nothing is returned;
/// where a process must wait for the program (PID namespaces) or there is nothing to run, the value
/// is the exit code for the caller to end with at once.
///
/// `provider` mounts the image of plans that need it.
///
/// # Errors
/// What kept the program from starting. With a PID namespace the error may be returned in a
/// second process; the caller reports it and exits as usual.
pub fn launch(
    plan: &LaunchPlan,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<u8, LaunchError> {
    let Entered {
        root,
        images,
        flushed,
        prepares,
    } = enter(plan, provider, report)?;
    if plan.namespaces.pid.is_none() && flushed.is_none() {
        setup::build(plan, root, images, report)?;
        return start(plan, report);
    }
    let init = plan.namespaces.pid.unwrap_or(InitKind::Payload);
    // Whoever waits, and whoever is on the way to the program, is none of the container's business.
    security::close_to_others()?;
    let mask = kernel::block_signals().map_err(setup::io("blocking signals"))?;
    let handle = setup::own_handle()?;
    if prepares && plan.namespaces.pid.is_some() {
        setup::enter_pid_namespace()?;
    }
    let flush = flushed.map(supervise::Flush::adopt_orphans).transpose()?;
    match kernel::fork().map_err(setup::io("starting process 1"))? {
        Fork::Parent(child) => {
            drop((root, images, handle));
            security::apply_to_supervisor(&plan.security)?;
            return supervise::outer(child, flush);
        }
        Fork::Child => setup::die_with_parent(&handle)?,
    }
    drop(handle);
    if flush.is_some() {
        drop(flush);
        setup::enter_mount_namespace()?;
    }
    setup::build(plan, root, images, report)?;
    if init == InitKind::Shim {
        match kernel::fork().map_err(setup::io("starting the program"))? {
            Fork::Parent(child) => {
                security::apply_to_supervisor(&plan.security)?;
                return supervise::init(child);
            }
            Fork::Child => {}
        }
    }
    kernel::restore_signals(&mask).map_err(setup::io("restoring signals"))?;
    security::open_to_others()?;
    start(plan, report)
}

/// A launch that has left the host's namespaces.
pub(crate) struct Entered {
    pub(crate) root: setup::EnteredRoot,
    /// Trees of images from which data is bound.
    pub(crate) images: Vec<OwnedFd>,
    /// Ends when images that were written to are complete on disk.
    pub(crate) flushed: Option<OwnedFd>,
    /// The PID namespace is still to be made, with [`setup::enter_pid_namespace`].
    pub(crate) prepares: bool,
}

/// Gets the image, leaves the host's namespaces and puts the layers of the root together.
pub(crate) fn enter(
    plan: &LaunchPlan,
    mut provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<Entered, LaunchError> {
    let rootfs = setup::provide(
        plan,
        match &mut provider {
            Some(provider) => Some(&mut **provider),
            None => None,
        },
    )?;
    let previous_umask = rustix::process::umask(rustix::fs::Mode::empty());
    // Programs that serve layers must outlive process 1, so that they are started before it.
    let prepares = plan.writing.needs_preparation();
    let root = match setup::enter_namespaces(plan, rootfs, prepares) {
        Ok(root) => root,
        Err(error) => {
            rustix::process::umask(previous_umask);
            return Err(error);
        }
    };
    let (root, Layers { images, flushed }) = if prepares {
        setup::prepare_layers(plan, root, provider, report)?
    } else {
        (root, Layers::default())
    };
    Ok(Entered {
        root,
        images,
        flushed,
        prepares,
    })
}

/// Becomes the program, or returns why not.
pub(crate) fn start(plan: &LaunchPlan, report: &mut Report<'_>) -> Result<u8, LaunchError> {
    setup::prepare(plan, report)?;
    match script::evaluate(&plan.script, Path::new("/"), report)? {
        Start::Execute(program) => Err(execute::execute(&match plan.fakeroot {
            Some(_) => under_fakeroot(program),
            None => program,
        })),
        Start::Exit(code) => Ok(code),
    }
}

/// `program` started by the fakeroot command, which finds what else it needs behind all other
/// folders.
fn under_fakeroot(program: Program) -> Program {
    let [script, words @ ..] = FakerootCommand::prefix().map(OsString::from);
    let path = PathBuf::from(&script);
    let mut environment = program.environment;
    match environment.iter_mut().find(|(name, _)| name == "PATH") {
        // An empty word would be the current directory.
        Some((_, folders)) => {
            if !folders.is_empty() {
                folders.push(":");
            }
            folders.push(fakeroot::LIBRARIES);
        }
        None => environment.push(("PATH".into(), fakeroot::LIBRARIES.into())),
    }
    Program {
        path,
        arguments: [script]
            .into_iter()
            .chain(words)
            .chain([program.path.into_os_string()])
            .chain(program.arguments.into_iter().skip(1))
            .collect(),
        environment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fakeroot_is_found_by_the_path_alone() {
        let path = |environment: &[(&str, &str)]| {
            let environment = environment
                .iter()
                .map(|(name, value)| (name.into(), value.into()));
            let program = under_fakeroot(Program {
                path: "/bin/true".into(),
                arguments: vec!["true".into()],
                environment: environment.collect(),
            });
            let mut found = program.environment.into_iter();
            found
                .find(|(name, _)| name == "PATH")
                .map(|(_, value)| value)
        };
        let libraries = OsString::from(fakeroot::LIBRARIES);
        let behind = OsString::from(format!("/bin:{}", fakeroot::LIBRARIES));
        assert_eq!(path(&[("PATH", "/bin")]), Some(behind));
        assert_eq!(path(&[("PATH", "")]), Some(libraries.clone()));
        assert_eq!(path(&[("LANG", "C")]), Some(libraries));
    }
}
