//! Layers over the root, and images from which data is bound: put together before the container.
//!
//! ```text
//! layers     opened: a directory cloned, squashfs served by ourselves, ext3 by fuse2fs
//! workbench  a tmpfs over / for as long as this takes: layers are attached to it, since the kernel
//!            builds overlays of mounted trees only
//! compose    the kernel's overlayfs; where it cannot, fuse-overlayfs
//! ```
//! The result is a detached tree like any other root. Programs that serve it live outside the
//! container's namespaces and end when the last mount of what they serve is gone; whoever must see
//! their last write on disk waits for [`Prepared::flushed`].

mod compose;
mod error;
mod layer;
mod place;
mod program;
mod served;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::PipeFlags;

use super::resolve;
use super::session::{MemoryKind, Session};
use super::{sandbox, tree};
use crate::error::{LaunchError, errno_reason};
use crate::idmap::IdMap;
use crate::plan::{Upper, WritingPlan};
use crate::report::{Level, Report};
use crate::request::writing::{Layer, LayerContent};
use crate::rootfs::{BindPoint, RootfsProvider};

pub use error::OverlayError;
use layer::Opened;

/// What lies below all layers.
#[derive(Debug)]
pub enum Lowest<'a> {
    /// A detached tree.
    Tree(OwnedFd),
    /// A directory, and the bind points it should have.
    Sandbox(&'a Path, &'a [BindPoint]),
    /// There are no layers.
    None,
}

/// What is put together.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// Layers.
    pub plan: &'a WritingPlan,
    /// What they lie over.
    pub lowest: Lowest<'a>,
    /// What the memory that changes may take is made of.
    pub memory: MemoryKind,
    /// We are in a user namespace, where the overlay may only use `user.` attributes.
    pub user_namespace: bool,
    /// The ids that it has; `None`: those of an ordinary launch.
    pub ids: Option<&'a IdMap>,
    /// The host's later mounts are seen in the container.
    pub slave: bool,
    /// The upper layer says all by itself: no renamed directory refers to where it was.
    pub plain: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Prepared {
    /// The root with its layers; `None` where it has none.
    pub root: Option<OwnedFd>,
    /// Trees of the images from which data is bound.
    pub images: Vec<OwnedFd>,
    /// Ends (end of file) when every image that was written to is complete on disk.
    pub flushed: Option<OwnedFd>,
}

/// Puts the layers together, in this process's own mount namespace, which stays as it is.
///
/// # Errors
/// The first layer that cannot be used, or that no overlay can be made.
pub fn prepare(
    wishes: &Wishes<'_>,
    provider: Option<&mut dyn RootfsProvider>,
    report: &mut Report<'_>,
) -> Result<Prepared, LaunchError> {
    let propagation = if wishes.slave {
        MountPropagationFlags::DOWNSTREAM
    } else {
        MountPropagationFlags::PRIVATE
    };
    mount_change("/", propagation | MountPropagationFlags::REC)
        .map_err(setup("changing mount propagation"))?;
    let plan = wishes.plan;
    let (flushed, flushing) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(setup("making a pipe"))?;
    let mut opener = layer::Opener {
        provider,
        flushing: flushing.as_fd(),
        ids: wishes.ids,
    };
    let images = plan
        .images
        .iter()
        .map(|image| Ok(opener.open(image)?.tree))
        .collect::<Result<Vec<_>, OverlayError>>()?;
    let lower = plan
        .lower
        .iter()
        .map(|layer| opener.open(layer))
        .collect::<Result<Vec<_>, _>>()?;
    let upper = match &plan.upper {
        Upper::Layer(layer) => Some(opener.open(layer)?),
        Upper::None | Upper::Memory => None,
    };
    let root = plan
        .is_layered()
        .then(|| lay_over(wishes, &lower, upper.as_ref(), report))
        .transpose()?;
    let upper = match &plan.upper {
        Upper::Layer(layer) => Some(layer),
        Upper::None | Upper::Memory => None,
    };
    let writes = plan
        .images
        .iter()
        .chain(upper)
        .any(|layer| layer.writable && matches!(layer.content, LayerContent::Ext3 { .. }));
    Ok(Prepared {
        root,
        images,
        flushed: writes.then_some(flushed),
    })
}

fn setup(step: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |error| LaunchError::Setup {
        step,
        reason: errno_reason(error),
    }
}

/// Directories of an overlay, all of them attached to the workbench.
#[derive(Debug)]
struct Stack {
    /// The topmost first.
    lower: Vec<OwnedFd>,
    /// Holds `upper` and `work`.
    upper: Option<OwnedFd>,
}

fn lay_over(
    wishes: &Wishes<'_>,
    lower: &[Opened],
    upper: Option<&Opened>,
    report: &mut Report<'_>,
) -> Result<OwnedFd, LaunchError> {
    let mut workbench =
        Session::mount(wishes.memory).map_err(setup("mounting the session tmpfs"))?;
    let root = stack_up(wishes, lower, upper, &mut workbench, report);
    workbench
        .leave()
        .map_err(setup("leaving the session tmpfs"))?;
    root
}

fn stack_up(
    wishes: &Wishes<'_>,
    lower: &[Opened],
    upper: Option<&Opened>,
    workbench: &mut Session,
    report: &mut Report<'_>,
) -> Result<OwnedFd, LaunchError> {
    let failed = setup("attaching the layers of the root");
    // Layers in the order of the plan, the topmost last, until the end.
    let mut directories = Vec::new();
    match &wishes.lowest {
        Lowest::Tree(tree) => directories.push(attached(workbench, tree.as_fd()).map_err(&failed)?),
        Lowest::None => {}
        Lowest::Sandbox(path, points) => {
            let sandbox = tree::clone_tree(rustix::fs::CWD, path).map_err(&failed)?;
            let sandbox = attached(workbench, sandbox.as_fd()).map_err(&failed)?;
            let points =
                sandbox::points_layer(sandbox.as_fd(), points, workbench).map_err(&failed)?;
            directories.push(sandbox);
            directories.extend(points);
        }
    }
    let mut needs_program = None;
    for (opened, layer) in lower.iter().zip(&wishes.plan.lower) {
        let base = attached(workbench, opened.tree.as_fd()).map_err(&failed)?;
        needs_program = needs_program.or_else(|| place::unfit_below(base.as_fd()));
        directories.push(layer_directory(layer, base).map_err(&failed)?);
    }
    let upper_base = match (&wishes.plan.upper, upper) {
        (Upper::Layer(_), Some(opened)) => {
            Some(attached(workbench, opened.tree.as_fd()).map_err(&failed)?)
        }
        (Upper::Memory, _) => Some(workbench.directory(0o755).map_err(&failed)?),
        _ => None,
    };
    if let Some(base) = &upper_base {
        for name in ["upper", "work"] {
            resolve::make_directory(base.as_fd(), name.as_ref(), 0o755).map_err(|error| {
                OverlayError::Upper {
                    name,
                    layer: named(&wishes.plan.upper),
                    reason: errno_reason(error),
                }
            })?;
        }
    }
    directories.reverse();
    let stack = Stack {
        lower: directories,
        upper: upper_base,
    };
    finish(wishes, &stack, needs_program, report)
}

/// The kernel's overlay where it can be had, else that of a program.
fn finish(
    wishes: &Wishes<'_>,
    stack: &Stack,
    needs_program: Option<String>,
    report: &mut Report<'_>,
) -> Result<OwnedFd, LaunchError> {
    let on_upper = stack
        .upper
        .as_ref()
        .and_then(|base| place::unfit_above(base.as_fd(), wishes.user_namespace));
    let in_memory = wishes.plan.upper == Upper::Memory;
    let wanted = wishes.plan.program;
    let wanted = wanted.then(|| "the configuration says so (enable overlay = driver)".to_owned());
    let mut why = wanted.or(needs_program).or_else(|| on_upper.clone());
    if why.is_none() {
        match compose::kernel(stack, wishes.user_namespace, wishes.plain) {
            Ok(root) => return Ok(root),
            Err(error) => why = Some(format!("the kernel's overlayfs: {}", errno_reason(error))),
        }
    }
    let why = why.unwrap_or_default();
    report(
        Level::Debug,
        &format!("fuse-overlayfs instead of the kernel's overlay: {why}"),
    );
    if let Some(base) = &stack.upper {
        secure_work(base.as_fd(), &wishes.plan.upper)?;
    }
    match program::overlay(stack) {
        Err(OverlayError::NoProgram { .. }) if in_memory && on_upper.is_some() => {
            // Short of some operations on directories, which is better than nothing.
            compose::kernel(stack, wishes.user_namespace, wishes.plain)
                .map_err(setup("laying memory over the root"))
        }
        Err(OverlayError::NoProgram { name, .. }) => Err(OverlayError::NotHere {
            name,
            layer: named(&wishes.plan.upper),
            why,
        }
        .into()),
        other => Ok(other?),
    }
}

/// Makes sure that `work/work` in `base` is a directory of its own: the program would follow a link
/// there, to wherever on the host, and remove all that it finds.
fn secure_work(base: BorrowedFd<'_>, upper: &Upper) -> Result<(), OverlayError> {
    resolve::make_directory(base, "work".as_ref(), 0o755)
        .and_then(|work| resolve::make_directory(work.as_fd(), "work".as_ref(), 0o700))
        .map(drop)
        .map_err(|error| OverlayError::Upper {
            name: "work/work",
            layer: named(upper),
            reason: match error {
                Errno::NOTDIR | Errno::LOOP => "what is there is no directory".to_owned(),
                other => errno_reason(other),
            },
        })
}

fn named(upper: &Upper) -> String {
    match upper {
        Upper::Layer(layer) => layer.path.display().to_string(),
        Upper::Memory => "memory".to_owned(),
        Upper::None => "the root".to_owned(),
    }
}

/// Attaches `tree` to a directory of the workbench; the descriptor is of what is attached.
fn attached(workbench: &mut Session, tree: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let place = workbench.directory(0o755)?;
    tree::attach(tree, place.as_fd())?;
    resolve::open_in_root(tree, Path::new("."))
}

/// The directory that shows in the container: `upper` of what was made as a writable overlay.
fn layer_directory(layer: &Layer, base: OwnedFd) -> Result<OwnedFd, Errno> {
    if matches!(layer.content, LayerContent::Squashfs { .. }) {
        return Ok(base);
    }
    use rustix::fs::OFlags;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match resolve::open_with(base.as_fd(), Path::new("upper"), flags) {
        Ok(upper) => Ok(upper),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(base),
        Err(error) => Err(error),
    }
}
