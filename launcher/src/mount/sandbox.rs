//! A directory as root. Where bind points are missing, they are laid over it with a read-only
//! overlay whose upper layer is a session directory that holds nothing else.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, fsconfig_create, fsconfig_set_flag};
use rustix::mount::{fsconfig_set_string, fsmount, fsopen};

use super::resolve::{self, Missing};
use super::session::Session;
use super::{MountFlags, tree};
use crate::error::errno_reason;
use crate::report::{Level, Report};
use crate::rootfs::BindPoint;

/// Flags of a root that nobody may change.
pub const ROOT_FLAGS: MountFlags = MountFlags {
    read_only: true,
    no_suid: true,
    no_dev: true,
};

/// How a sandbox is made into a root.
#[derive(Clone, Copy, Debug)]
pub struct SandboxOptions {
    /// An overlay may be used for missing bind points.
    pub overlay: bool,
    /// The directory itself may be written to.
    pub writable: bool,
    /// We are in a user namespace, where the overlay may only use `user.` attributes.
    pub user_namespace: bool,
}

/// A detached tree of the sandbox in which the bind points exist, as far as possible.
///
/// # Errors
/// The directory cannot be opened or cloned.
pub fn root_tree(
    directory: &Path,
    points: &[BindPoint],
    options: SandboxOptions,
    session: &mut Session,
    report: &mut Report<'_>,
) -> Result<OwnedFd, Errno> {
    let sandbox = rustix::fs::openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let missing = missing_points(sandbox.as_fd(), points);
    if !missing.is_empty() && options.overlay {
        match overlay(sandbox.as_fd(), &missing, options, session) {
            Ok(root) => return Ok(root),
            Err(error) => report(
                Level::Verbose,
                &format!(
                    "no overlay over {}: {}; missing bind points stay missing",
                    directory.display(),
                    errno_reason(error)
                ),
            ),
        }
    }
    let root = tree::clone_tree(sandbox.as_fd(), Path::new("."))?;
    let flags = MountFlags {
        read_only: !options.writable,
        ..ROOT_FLAGS
    };
    tree::restrict(root.as_fd(), flags)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(root)
}

/// The points that do not exist in the sandbox and may be made.
fn missing_points<'a>(
    sandbox: BorrowedFd<'_>,
    points: &'a [BindPoint],
) -> Vec<(&'a BindPoint, Missing)> {
    points
        .iter()
        .filter_map(|point| {
            // A walk that fails (a loop, no permission) leaves the point to fail at its mount.
            let missing = resolve::find_missing(sandbox, &point.path).ok()??;
            (!(point.only_through_directories && missing.detour)).then_some((point, missing))
        })
        .collect()
}

/// A directory of `session` that holds the points that are missing in `sandbox`; `None` when there
/// are none.
///
/// # Errors
/// The kernel's refusal, such as a full tmpfs.
pub(super) fn points_layer(
    sandbox: BorrowedFd<'_>,
    points: &[BindPoint],
    session: &mut Session,
) -> Result<Option<OwnedFd>, Errno> {
    let missing = missing_points(sandbox, points);
    if missing.is_empty() {
        return Ok(None);
    }
    make_points(sandbox, &missing, session).map(Some)
}

fn make_points(
    sandbox: BorrowedFd<'_>,
    missing: &[(&BindPoint, Missing)],
    session: &mut Session,
) -> Result<OwnedFd, Errno> {
    let points = session.directory(mode_of(sandbox, Path::new(".")))?;
    for (point, missing) in missing {
        copy_directories(sandbox, points.as_fd(), &missing.existing)?;
        // Two points may share directories; what the first one made is no longer missing. One
        // point may also be a directory on the way of another that is a file: the first wins.
        match resolve::create(points.as_fd(), missing, point.kind) {
            Ok(_) | Err(Errno::NOTDIR | Errno::ISDIR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(points)
}

fn overlay(
    sandbox: BorrowedFd<'_>,
    missing: &[(&BindPoint, Missing)],
    options: SandboxOptions,
    session: &mut Session,
) -> Result<OwnedFd, Errno> {
    let points = make_points(sandbox, missing, session)?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Descriptors as paths: a path of the user's could contain the separator, and values are
    // limited to 255 bytes.
    let layers = format!(
        "/proc/self/fd/{}:/proc/self/fd/{}",
        points.as_raw_fd(),
        sandbox.as_raw_fd()
    );
    fsconfig_set_string(context.as_fd(), "lowerdir", layers)?;
    if options.user_namespace {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        tree::attributes(ROOT_FLAGS),
    )
}

/// Makes the directories of `path` in the upper layer, with the modes that they have below,
/// because the upper layer's attributes are the ones that are seen.
fn copy_directories(
    sandbox: BorrowedFd<'_>,
    points: BorrowedFd<'_>,
    path: &Path,
) -> Result<(), Errno> {
    let mut below = PathBuf::new();
    let mut here = points.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    for name in path {
        below.push(name);
        here = resolve::make_directory(here.as_fd(), name, mode_of(sandbox, &below))?;
    }
    Ok(())
}

/// Permission bits of a directory; the owner's are added, so that the tree can be filled.
fn mode_of(sandbox: BorrowedFd<'_>, path: &Path) -> u32 {
    rustix::fs::statat(sandbox, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_or(0o755, |status| (status.st_mode & 0o7777) | 0o700)
}
