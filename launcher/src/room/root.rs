//! The root of the image that is made: what it starts from, and where changes go.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{LaunchError, errno_reason};
use crate::idmap::IdMap;
use crate::mount::overlay::{self, Lowest, Wishes};
use crate::mount::session::MemoryKind;
use crate::mount::tree;
use crate::plan::{Upper, WritingPlan};
use crate::report::Report;
use crate::request::writing::{Layer, LayerContent};
use crate::rootfs::RootfsProvider;

/// What the root starts from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    /// A file system in a file.
    Image {
        /// The file.
        path: PathBuf,
        /// Where in it.
        content: LayerContent,
    },
    /// A directory, which is not written to.
    Directory(PathBuf),
}

/// A root to lay out.
#[derive(Clone, Copy, Debug)]
pub struct RootWish<'a> {
    /// What it starts from.
    pub base: &'a Base,
    /// Directory that gets `upper`, with all that is changed, and `work`.
    pub changes: &'a Path,
    /// Existing directory on which the root is mounted.
    pub place: &'a Path,
    /// Ids of the room.
    pub ids: Option<&'a IdMap>,
    /// The room is in another user namespace than the machine's.
    pub user_namespace: bool,
}

/// Memory for the workbench, which holds some directories.
const WORKBENCH_MIB: u64 = 4;

/// Mounts an overlay on `wish.place`, in this process's mount namespace, which is the room's.
///
/// # Errors
/// The base cannot be opened, or no overlay can be made.
pub fn lay_out(
    wish: &RootWish<'_>,
    provider: &mut dyn RootfsProvider,
    report: &mut Report<'_>,
) -> Result<(), LaunchError> {
    let layer = |path: &Path, content, writable| Layer {
        path: path.to_owned(),
        given: OsString::from(path),
        content,
        writable,
    };
    let mut plan = WritingPlan {
        upper: Upper::Layer(layer(wish.changes, LayerContent::Directory, true)),
        ..WritingPlan::default()
    };
    let lowest = match wish.base {
        Base::Directory(path) => Lowest::Sandbox(path, &[]),
        Base::Image { path, content } => {
            plan.lower.push(layer(path, content.clone(), false));
            Lowest::None
        }
    };
    // Programs that serve what is mounted have to start with a clean umask.
    let umask = rustix::process::umask(Mode::empty());
    let prepared = overlay::prepare(
        &Wishes {
            plan: &plan,
            lowest,
            memory: MemoryKind::Tmpfs(WORKBENCH_MIB),
            user_namespace: wish.user_namespace,
            ids: wish.ids,
            slave: false,
            plain: true,
        },
        Some(provider),
        report,
    );
    rustix::process::umask(umask);
    let failed = |reason: String| LaunchError::Setup {
        step: "mounting the root of the build",
        reason,
    };
    let root = prepared?
        .root
        .ok_or_else(|| failed("there is none".to_owned()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, wish.place, flags, Mode::empty())
        .and_then(|place| tree::attach(root.as_fd(), place.as_fd()))
        .map_err(|error| failed(errno_reason(error)))
}
