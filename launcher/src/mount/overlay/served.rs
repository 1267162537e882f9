//! A squashfs layer, served by a process of ours.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use crate::kernel::{self, Fork};
use crate::mount::tree;
use crate::rootfs::{RootfsProvider, ServedLayer};

/// Mounts `layer`, answered for by `provider` in a process that nobody has to wait for.
///
/// # Errors
/// When there is no FUSE, or no process.
pub(super) fn mount(
    layer: &ServedLayer<'_>,
    provider: &mut dyn RootfsProvider,
) -> std::io::Result<OwnedFd> {
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let fd = device.as_raw_fd().to_string();
    let uid = rustix::process::geteuid().as_raw().to_string();
    let gid = rustix::process::getegid().as_raw().to_string();
    let tree = tree::new_mount_with_flags(
        "fuse",
        &[
            ("source", "skiff"),
            ("fd", &fd),
            ("rootmode", "40000"),
            ("user_id", &uid),
            ("group_id", &gid),
        ],
        &["allow_other", "default_permissions"],
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    match kernel::fork()? {
        Fork::Parent(child) => {
            let _ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
            Ok(tree)
        }
        Fork::Child => {
            // Before anything is attached in our caller's namespace, which waits for this process:
            // the server must not hold the mounts that keep it alive.
            let apart = kernel::unshare(UnshareFlags::NEWNS);
            // A second fork: the program that the caller becomes has no children of ours.
            if apart.is_ok() && matches!(kernel::fork(), Ok(Fork::Child)) {
                serve(layer, provider, device);
            }
            kernel::exit_now(0)
        }
    }
}

/// The server's life. What it says goes nowhere; whoever reads meets the errors.
fn serve(layer: &ServedLayer<'_>, provider: &mut dyn RootfsProvider, device: OwnedFd) {
    let begin = || -> std::io::Result<()> {
        rustix::process::setsid()?;
        kernel::close_all_but(&[layer.file, device.as_fd()])?;
        kernel::unblock_signals()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        rustix::thread::set_name(c"skiff-layer")?;
        rustix::process::chdir("/")?;
        Ok(())
    };
    let status = i32::from(
        begin()
            .and_then(|()| provider.serve_layer(layer, device))
            .is_err(),
    );
    kernel::exit_now(status);
}
