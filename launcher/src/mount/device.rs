//! The small /dev of contained runs: a session directory with a few nodes of the host bound into
//! it, new pseudo-terminals and new shared memory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::DeviceDirectory;
use super::resolve;
use super::tree;
use crate::host::PathKind;
use crate::report::{Level, Report};

/// Nodes that every container gets.
pub const BASIC_NODES: [&str; 5] = [
    "/dev/tty",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// Names that the directory provides itself, which nothing of the host may cover.
pub const OWN_NAMES: [&str; 7] = [
    "/dev/shm",
    "/dev/pts",
    "/dev/ptmx",
    "/dev/fd",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Host nodes opened before the host's /dev is out of reach.
#[derive(Debug, Default)]
pub struct OpenNodes {
    nodes: Vec<(PathBuf, PathKind, OwnedFd)>,
    console: Option<OwnedFd>,
}

impl OpenNodes {
    /// Opens the nodes of `wish`; missing ones are left out with a message.
    pub fn open(wish: &DeviceDirectory, report: &mut Report<'_>) -> Self {
        let mut open = Self::default();
        for path in &wish.nodes {
            let opened = tree::clone_tree(CWD, path)
                .and_then(|node| Ok((resolve::place(node.as_fd())?.directory, node)));
            match opened {
                Ok((true, node)) => open.nodes.push((path.clone(), PathKind::Directory, node)),
                Ok((false, node)) => open.nodes.push((path.clone(), PathKind::File, node)),
                Err(error) => report(
                    Level::Verbose,
                    &format!("{} is not available: {error}", path.display()),
                ),
            }
        }
        open.console = wish
            .console
            .as_deref()
            .and_then(|terminal| tree::clone_tree(CWD, terminal).ok());
        open
    }
}

/// Fills the directory at `place`, which is mounted as the container's /dev.
///
/// # Errors
/// The kernel's refusal.
pub fn fill(place: BorrowedFd<'_>, wish: &DeviceDirectory, open: &OpenNodes) -> Result<(), Errno> {
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, place, name)?;
    }
    let shared_memory = tree::new_mount(
        "tmpfs",
        &[("mode", "1777")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    attach_directory(place, "shm", shared_memory.as_fd())?;
    if wish.message_queues {
        let queues = tree::new_mount(
            "mqueue",
            &[],
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )?;
        attach_directory(place, "mqueue", queues.as_fd())?;
    }
    if wish.pts {
        let group = wish.tty_group.map(|group| group.to_string());
        let mut options = vec![("mode", "0620"), ("ptmxmode", "0666")];
        if let Some(group) = &group {
            options.push(("gid", group.as_str()));
        }
        let terminals = tree::new_mount(
            "devpts",
            &options,
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )?;
        attach_directory(place, "pts", terminals.as_fd())?;
        rustix::fs::symlinkat("/dev/pts/ptmx", place, "ptmx")?;
    }
    if let Some(console) = &open.console {
        let file = resolve::make_file(place, OsStr::new("console"))?;
        tree::attach(console.as_fd(), file.as_fd())?;
    }
    for (path, kind, node) in &open.nodes {
        let Ok(name) = path.strip_prefix("/dev") else {
            continue;
        };
        let target = bind_point(place, name, *kind)?;
        tree::attach(node.as_fd(), target.as_fd())?;
    }
    Ok(())
}

fn attach_directory(place: BorrowedFd<'_>, name: &str, mount: BorrowedFd<'_>) -> Result<(), Errno> {
    let directory = resolve::make_directory(place, OsStr::new(name), 0o755)?;
    tree::attach(mount, directory.as_fd())
}

/// Makes `name`, which may have several components, below `place`.
fn bind_point(place: BorrowedFd<'_>, name: &Path, kind: PathKind) -> Result<OwnedFd, Errno> {
    let mut here = place.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    for leading in name.parent().into_iter().flat_map(Path::components) {
        here = resolve::make_directory(here.as_fd(), leading.as_os_str(), 0o755)?;
    }
    let last = name.file_name().ok_or(Errno::INVAL)?;
    match kind {
        PathKind::Directory => resolve::make_directory(here.as_fd(), last, 0o755),
        PathKind::File => resolve::make_file(here.as_fd(), last),
    }
}
