//! Carries the mount part of a plan out: sources are opened, the root is put together in the
//! session tmpfs, each step is attached, and the root becomes ours.
//!
//! ```text
//! /  slave            nothing we mount reaches the host, what the host mounts reaches us
//! sources             detached clones, taken while only the host's mounts are there
//! session over /      the tmpfs; no path leads into it
//! session/rootfs      the image, then the steps on it
//! pivot_root          the image becomes /, the host's tree is let go
//! ```

mod generated;
mod places;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount,
    unmount,
};

use super::device::{self, OpenNodes};
use super::injection::{self, OpenLibraries};
use super::resolve::{self, Place};
use super::sandbox::{self, SandboxOptions};
use super::session::{MemoryKind, Session};
use super::tree;
use super::{
    Condition, CreateDirectory, FileContent, MissingDestination, MountFlags, MountSource,
    MountStep, MountTag,
};
use crate::error::{LaunchError, errno_reason, reason};
use crate::report::{Level, Report};
use crate::rootfs::{BindPoint, BindPointKind};

/// Where the root comes from.
#[derive(Debug)]
pub enum RootSource<'a> {
    /// A detached tree.
    Tree(OwnedFd),
    /// A directory, with the bind points that it should have.
    Sandbox {
        /// The directory.
        directory: &'a Path,
        /// Bind points.
        points: &'a [BindPoint],
        /// How.
        options: SandboxOptions,
    },
}

/// What the mounts of a launch are made from.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// The root.
    pub root: RootSource<'a>,
    /// The steps, in order.
    pub steps: &'a [MountStep],
    /// What the session is made of.
    pub memory: MemoryKind,
    /// The host's later mounts are seen in the container.
    pub slave: bool,
    /// The root may be written to.
    pub writable: bool,
    /// Nothing is created in the root, though it may be written to: it is the user's own directory.
    pub untouched: bool,
    /// Trees of images from which data is bound.
    pub images: Vec<OwnedFd>,
}

/// Makes the container's tree the root of this process, whose mount namespace is its own.
///
/// # Errors
/// The first step that could neither be done nor be left out.
pub fn assemble(assembly: Assembly<'_>, report: &mut Report<'_>) -> Result<(), LaunchError> {
    let propagation = if assembly.slave {
        MountPropagationFlags::DOWNSTREAM
    } else {
        MountPropagationFlags::PRIVATE
    };
    mount_change("/", propagation | MountPropagationFlags::REC)
        .map_err(setup("changing mount propagation"))?;
    let opened = assembly
        .steps
        .iter()
        .map(|step| open_source(step, report))
        .collect::<Result<Vec<_>, _>>()?;
    let mut session =
        Session::mount(assembly.memory).map_err(setup("mounting the session tmpfs"))?;
    let root = match assembly.root {
        RootSource::Tree(tree) => {
            let flags = MountFlags {
                read_only: !assembly.writable,
                ..sandbox::ROOT_FLAGS
            };
            tree::restrict(tree.as_fd(), flags).map_err(|error| LaunchError::Setup {
                step: "restricting the image's mount",
                reason: reason(&error),
            })?;
            tree
        }
        RootSource::Sandbox {
            directory,
            points,
            options,
        } => sandbox::root_tree(directory, points, options, &mut session, report).map_err(
            |error| LaunchError::Mount {
                tag: MountTag::Rootfs,
                source_path: directory.to_owned(),
                destination: PathBuf::from("/"),
                reason: errno_reason(error),
            },
        )?,
    };
    let place = session
        .directory(0o755)
        .map_err(setup("preparing the root"))?;
    tree::attach(root.as_fd(), place.as_fd()).map_err(setup("attaching the root"))?;
    // The tree's own descriptor is the mounted root now; the place is hidden under it.
    let mut images = Vec::new();
    for tree in assembly.images {
        let place = session
            .directory(0o755)
            .map_err(setup("preparing an image"))?;
        tree::attach(tree.as_fd(), place.as_fd()).map_err(setup("attaching an image"))?;
        images.push(tree);
    }
    let mut builder = Builder {
        root: root.as_fd(),
        steps: assembly.steps,
        session,
        untouched: assembly.untouched,
        images,
    };
    for (step, opened) in assembly.steps.iter().zip(opened) {
        builder.perform(step, opened, report)?;
    }
    enter(root.as_fd())
}

/// What a step needs from the host.
#[derive(Debug)]
enum Opened {
    /// Nothing.
    Nothing,
    /// A detached tree.
    Tree(OwnedFd),
    /// Device nodes.
    Nodes(OpenNodes),
    /// Libraries.
    Libraries(OpenLibraries),
    /// The step is left out: its source is not there.
    Absent,
}

fn setup(step: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |error| match error {
        Errno::NOSYS => LaunchError::OldKernel { call: step },
        _ => LaunchError::Setup {
            step,
            reason: errno_reason(error),
        },
    }
}

fn mount_error(step: &MountStep, reason: String) -> LaunchError {
    LaunchError::Mount {
        tag: step.tag,
        source_path: step.source.label(),
        destination: step.destination.clone(),
        reason,
    }
}

/// Steps without which the container is not what was asked for.
const fn required(tag: MountTag) -> bool {
    matches!(
        tag,
        MountTag::Dev | MountTag::Home | MountTag::Scratch | MountTag::Userbinds
    )
}

fn open_source(step: &MountStep, report: &mut Report<'_>) -> Result<Opened, LaunchError> {
    let path = match &step.source {
        MountSource::Host { path } | MountSource::Injected { path } => path,
        MountSource::HostDirectory { path, mode, create } => {
            create_host_directory(path, *mode, *create)?;
            path
        }
        MountSource::Devices(wish) => return Ok(Opened::Nodes(OpenNodes::open(wish, report))),
        MountSource::Libraries {
            libraries: wish, ..
        } => {
            let open = OpenLibraries::open(wish, step.flags, report);
            return Ok(Opened::Libraries(open));
        }
        MountSource::Image { .. }
        | MountSource::EmptyDirectory { .. }
        | MountSource::File(_)
        | MountSource::Proc
        | MountSource::Sysfs => return Ok(Opened::Nothing),
    };
    let error = match tree::clone_tree(CWD, path) {
        Ok(tree) => return restricted(step, tree, report).map(Opened::Tree),
        Err(Errno::NOSYS) => {
            return Err(LaunchError::OldKernel {
                call: "open_tree(2)",
            });
        }
        Err(error) => error,
    };
    if step.tag == MountTag::Userbinds && matches!(error, Errno::NOENT | Errno::NOTDIR) {
        return Err(LaunchError::MissingSource {
            source_path: path.clone(),
            destination: step.destination.clone(),
        });
    }
    if required(step.tag) {
        return Err(mount_error(step, errno_reason(error)));
    }
    report(
        Level::Warning,
        &format!(
            "Skipping mount {} [{}]: {}",
            path.display(),
            step.tag,
            errno_reason(error)
        ),
    );
    Ok(Opened::Absent)
}

/// Tells that a step is left out.
fn skip(step: &MountStep, why: &str, report: &mut Report<'_>) {
    report(
        Level::Warning,
        &format!(
            "Skipping mount {} [{}] at {}: {why}",
            step.source.label().display(),
            step.tag,
            step.destination.display()
        ),
    );
}

/// Gives a cloned tree the step's flags.
fn restricted(
    step: &MountStep,
    tree: OwnedFd,
    report: &mut Report<'_>,
) -> Result<OwnedFd, LaunchError> {
    match tree::restrict(tree.as_fd(), step.flags) {
        Ok(()) => Ok(tree),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Err(LaunchError::OldKernel {
            call: "mount_setattr(2)",
        }),
        // A mount whose flags are locked cannot be changed from a user namespace; it is at least
        // as restricted as on the host.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            if step.flags.read_only {
                report(
                    Level::Warning,
                    &format!(
                        "could not mount {} read-only at {}",
                        step.source.label().display(),
                        step.destination.display()
                    ),
                );
            }
            Ok(tree)
        }
        Err(error) => Err(mount_error(step, reason(&error))),
    }
}

fn create_host_directory(
    path: &Path,
    mode: u32,
    create: CreateDirectory,
) -> Result<(), LaunchError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if path.is_dir() {
        return Ok(());
    }
    let failed = |error: std::io::Error| LaunchError::WorkDirectory {
        path: path.to_owned(),
        reason: reason(&error),
    };
    std::fs::DirBuilder::new()
        .mode(mode)
        .recursive(create == CreateDirectory::All)
        .create(path)
        .map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

/// The root in the making.
#[derive(Debug)]
struct Builder<'a> {
    root: BorrowedFd<'a>,
    steps: &'a [MountStep],
    session: Session,
    untouched: bool,
    /// Attached to the session.
    images: Vec<OwnedFd>,
}

impl Builder<'_> {
    fn perform(
        &mut self,
        step: &MountStep,
        opened: Opened,
        report: &mut Report<'_>,
    ) -> Result<(), LaunchError> {
        let opened = match (&step.source, opened) {
            (_, Opened::Absent) => return Ok(()),
            (
                MountSource::Image {
                    number,
                    image,
                    inside,
                },
                _,
            ) => {
                let tree = self.part_of_image(step, *number, image, inside)?;
                Opened::Tree(restricted(step, tree, report)?)
            }
            (_, opened) => opened,
        };
        let Some(place) = self.destination(step, &opened, report)? else {
            return Ok(());
        };
        let failed = |error: Errno| mount_error(step, errno_reason(error));
        if self
            .is_satisfied(step, &opened, place.as_fd())
            .map_err(failed)?
        {
            return Ok(());
        }
        match (&step.source, opened) {
            (MountSource::Injected { .. }, Opened::Tree(tree)) => {
                // Whatever an image has there, it is no reason not to start.
                if let Err(error) = attach(tree.as_fd(), place.as_fd()) {
                    skip(step, &errno_reason(error), report);
                }
                Ok(())
            }
            (
                MountSource::Libraries {
                    libraries: wish,
                    places,
                },
                Opened::Libraries(libraries),
            ) => {
                let tree = self.session.directory_tree(0o755).map_err(failed)?;
                attach(tree.as_fd(), place.as_fd()).map_err(failed)?;
                libraries.fill(tree.as_fd(), places).map_err(failed)?;
                libraries.compare(self.root, wish, report);
                restricted(step, tree, report).map(drop)
            }
            (_, Opened::Tree(tree)) => attach(tree.as_fd(), place.as_fd()).map_err(failed),
            (MountSource::Devices(wish), Opened::Nodes(nodes)) => {
                let tree = self.session.directory_tree(0o755).map_err(failed)?;
                attach(tree.as_fd(), place.as_fd()).map_err(failed)?;
                device::fill(tree.as_fd(), wish, &nodes).map_err(failed)
            }
            (source, _) => {
                let Some(tree) = self.make(step, source, place.as_fd(), report)? else {
                    return Ok(());
                };
                let tree = restricted(step, tree, report)?;
                attach(tree.as_fd(), place.as_fd()).map_err(failed)
            }
        }
    }

    /// Opens the destination, or decides that the step is left out.
    fn destination(
        &mut self,
        step: &MountStep,
        opened: &Opened,
        report: &mut Report<'_>,
    ) -> Result<Option<OwnedFd>, LaunchError> {
        let found = match step.source {
            MountSource::Libraries { .. } => injection::own_place(self.root, &step.destination),
            MountSource::Injected { .. } => injection::place(self.root, &step.destination),
            _ => resolve::open_in_root(self.root, &step.destination),
        };
        let error = match found {
            Ok(place) => return Ok(Some(place)),
            Err(Errno::NOSYS) => return Err(LaunchError::OldKernel { call: "openat2(2)" }),
            Err(error) => error,
        };
        match (step.missing, &step.source) {
            (MissingDestination::CreateOrFail, _) if self.untouched && self.is_root(step) => {
                self.in_untouched_root(step, report).map(Some)
            }
            (MissingDestination::CreateOrFail, _) => {
                self.create(step, kind_of(step, opened), error).map(Some)
            }
            (MissingDestination::Warn, MountSource::Libraries { .. })
                if matches!(error, Errno::LOOP | Errno::NOTDIR) =>
            {
                skip(step, "the image has a link or a file there", report);
                Ok(None)
            }
            (MissingDestination::Warn, MountSource::File(content)) => {
                let what = match content {
                    FileContent::Passwd(_) => "passwd",
                    FileContent::Group(_) => "group",
                    _ => return Ok(self.warn_missing(step, report)),
                };
                report(
                    Level::Warning,
                    &format!("{what} file doesn't exist in container, not updating"),
                );
                Ok(None)
            }
            (MissingDestination::Warn, _) => Ok(self.warn_missing(step, report)),
            (MissingDestination::Skip, _) => Ok(None),
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as part of the builder's decisions"
    )]
    fn warn_missing(&self, step: &MountStep, report: &mut Report<'_>) -> Option<OwnedFd> {
        report(
            Level::Warning,
            &format!(
                "Skipping mount {} [{}]: {} doesn't exist in container",
                step.source.label().display(),
                step.tag,
                step.destination.display()
            ),
        );
        None
    }

    /// Whether the step's condition says that nothing is to be done.
    fn is_satisfied(
        &self,
        step: &MountStep,
        opened: &Opened,
        place: BorrowedFd<'_>,
    ) -> Result<bool, Errno> {
        match &step.condition {
            Condition::Always => Ok(false),
            Condition::UnlessPresent => {
                let there = resolve::place(place)?;
                if there.mount_root {
                    return Ok(true);
                }
                let Opened::Tree(tree) = opened else {
                    return Ok(false);
                };
                let wanted = resolve::place(tree.as_fd())?;
                Ok(same_file(wanted, there))
            }
            Condition::UnlessSameAs(other) => {
                let there = resolve::place(place)?;
                match resolve::open_in_root(self.root, other) {
                    Ok(other) => {
                        let other = resolve::place(other.as_fd())?;
                        Ok(same_file(other, there) && other.mount == there.mount)
                    }
                    Err(_) => Ok(false),
                }
            }
        }
    }

    /// Makes what the session or the kernel provides.
    fn make(
        &mut self,
        step: &MountStep,
        source: &MountSource,
        place: BorrowedFd<'_>,
        report: &mut Report<'_>,
    ) -> Result<Option<OwnedFd>, LaunchError> {
        let failed = |error: Errno| mount_error(step, errno_reason(error));
        let kernel = |kind| {
            tree::new_mount(
                kind,
                &[],
                MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
            )
        };
        let tree = match source {
            MountSource::EmptyDirectory { mode } => self.session.directory_tree(*mode),
            MountSource::Proc => kernel("proc"),
            MountSource::Sysfs => kernel("sysfs"),
            MountSource::File(content) => {
                let Some(text) = self.text(step, content, place, report)? else {
                    return Ok(None);
                };
                self.session.file_tree(&text)
            }
            // These are opened on the host, not made.
            MountSource::Host { .. }
            | MountSource::Image { .. }
            | MountSource::HostDirectory { .. }
            | MountSource::Libraries { .. }
            | MountSource::Injected { .. }
            | MountSource::Devices(_) => return Ok(None),
        };
        tree.map(Some).map_err(failed)
    }
}

/// Attaches a tree to a place. The kernel says "invalid argument" where a directory meets a file;
/// mount(2) had a better word for it.
fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    tree::attach(tree, place).map_err(|error| {
        let directory = |descriptor| resolve::place(descriptor).map(|place| place.directory);
        match (directory(tree), directory(place)) {
            (Ok(source), Ok(destination)) if source != destination => Errno::NOTDIR,
            _ => error,
        }
    })
}

/// The same inode, whatever mount it is seen through.
fn same_file(one: Place, other: Place) -> bool {
    (one.device, one.inode) == (other.device, other.inode)
}

/// What a created destination must be.
fn kind_of(step: &MountStep, opened: &Opened) -> BindPointKind {
    let directory = match (&step.source, opened) {
        (_, Opened::Tree(tree)) => resolve::place(tree.as_fd()).is_ok_and(|place| place.directory),
        (MountSource::File(_), _) => false,
        _ => true,
    };
    if directory {
        BindPointKind::Directory
    } else {
        BindPointKind::File
    }
}

/// Makes the mounted tree behind `root` this process's root and lets go of the host's.
fn enter(root: BorrowedFd<'_>) -> Result<(), LaunchError> {
    rustix::process::fchdir(root).map_err(setup("entering the root"))?;
    match rustix::process::pivot_root(c".", c".") {
        Ok(()) => {
            // On top of the new root lie the old one and, on that, the session; "." leads to the
            // topmost.
            for _ in 0..2 {
                unmount(c".", UnmountFlags::DETACH).map_err(setup("leaving the host's root"))?;
            }
        }
        // The initial root file system of a diskless node cannot be pivoted away: the container's
        // root is laid over it instead.
        Err(Errno::INVAL) => {
            move_mount(
                root,
                c"",
                CWD,
                c"/",
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
            )
            .map_err(setup("moving the root"))?;
            rustix::process::chroot(c".").map_err(setup("changing the root"))?;
        }
        Err(error) => return Err(setup("changing the root")(error)),
    }
    rustix::process::chdir(c"/").map_err(setup("entering the root"))?;
    Ok(())
}
