//! The kernel's overlayfs over directories that are open and attached.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen,
};

use super::Stack;
use crate::mount::sandbox::ROOT_FLAGS;
use crate::mount::{MountFlags, resolve, tree};

/// Longest value that fsconfig(2) takes.
const MAX_VALUE: usize = 255;

/// A detached overlay of `stack`.
///
/// # Errors
/// The kernel's refusal; EINVAL says that a layer is on a file system that cannot be one.
pub(super) fn kernel(stack: &Stack, user_namespace: bool, plain: bool) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Descriptors as paths: a path of the user's could contain the separator.
    let layers: Vec<String> = stack.lower.iter().map(path_of).collect();
    let joined = layers.join(":");
    if joined.len() <= MAX_VALUE {
        fsconfig_set_string(context.as_fd(), "lowerdir", joined)?;
    } else {
        // Linux 6.8.
        for layer in layers {
            fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
        }
    }
    let mut open = Vec::new();
    if let Some(base) = &stack.upper {
        for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let directory = resolve::open_with(base.as_fd(), Path::new(name), flags)?;
            fsconfig_set_string(context.as_fd(), key, path_of(&directory))?;
            open.push(directory);
        }
    }
    if user_namespace {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    } else if plain {
        // Whatever the kernel was built to do by default; in user namespaces it is so anyway.
        fsconfig_set_string(context.as_fd(), "redirect_dir", "nofollow")?;
        fsconfig_set_string(context.as_fd(), "metacopy", "off")?;
    }
    fsconfig_create(context.as_fd())?;
    if let Some(base) = &stack.upper {
        // The kernel's own directory has no permissions, so that its owner could not remove it.
        let work = resolve::open_with(base.as_fd(), Path::new("work"), OFlags::PATH)?;
        let mode = Mode::from_raw_mode(0o700);
        // A convenience only.
        let _as_it_is = rustix::fs::chmodat(&work, "work", mode, AtFlags::empty());
    }
    let flags = MountFlags {
        read_only: stack.upper.is_none(),
        ..ROOT_FLAGS
    };
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        tree::attributes(flags),
    )
}

fn path_of(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}
