//! `skiff mount IMAGE DIR` and `skiff umount DIR`: an image to look at, outside of any container.
//!
//! Root mounts by mount(2); an ordinary user through the set-uid helper fusermount3, since only it
//! may mount outside a user namespace.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use skiff_fs::fuse::handler::{Owners, RootLayout};
use skiff_fs::image::{Image, ImageError};
use skiff_launcher::holder::{HOLDER_NAME, supervise};

use crate::cli;
use crate::cli::action::encryption::EncryptionArgs;
use crate::cli::remote::RemoteArgs;
use crate::encryption::{self, Purpose};
use crate::exit::ExitStatus;
use crate::remote;
use crate::text::os_error;
use crate::wire::{FuseBackend, Served};

/// Helpers in the order they are tried: the second is what older systems have.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];

/// Variable by which the helper learns on which descriptor to send the device.
const HELPER_SOCKET_VARIABLE: &str = "_FUSE_COMMFD";

/// Arguments of `mount`.
#[derive(clap::Args, Clone, Debug)]
pub struct MountArgs {
    /// Serve in the foreground until unmounted
    #[arg(long, short)]
    pub foreground: bool,
    /// The image's key.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Image and directory.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// Arguments of `umount`.
#[derive(clap::Args, Clone, Debug)]
pub struct UmountArgs {
    /// Detach even if it is in use; it goes when its last user does
    #[arg(long, short)]
    pub lazy: bool,
    /// The directory.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// Mounts, and returns while a process in the background serves.
///
/// # Errors
/// Whatever keeps the image from being mounted.
pub fn mount(args: &MountArgs, context: &cli::Context) -> anyhow::Result<ExitStatus> {
    let [image_path, directory] = &args.words[..] else {
        bail!("an image and a directory are needed");
    };
    let key = encryption::material(&args.encryption, context, Purpose::Open)?;
    let served = match remote::reference(image_path)? {
        Some(reference) => {
            let options = args.remote.options(&reference, context)?;
            let uncached = args.remote.disable_cache;
            Served::Elsewhere(Box::new(remote::locate(
                &reference,
                &options,
                uncached,
                key.as_ref(),
            )?))
        }
        None => {
            let path = std::path::absolute(image_path)
                .with_context(|| format!("image {}", Path::new(image_path).display()))?;
            let mut image = Image::open(&path).map_err(|error| named(&path, error))?;
            encryption::unlock(&mut image, key.as_ref())?;
            Served::Here(Box::new(image))
        }
    };
    let image_path = served.path().to_owned();
    let directory = std::fs::canonicalize(directory)
        .with_context(|| format!("mount point {}", Path::new(directory).display()))?;
    if !directory.is_dir() {
        bail!("mount point {} is not a directory", directory.display());
    }
    let mut backend = FuseBackend::new(served, Owners::Recorded, RootLayout::Image);
    if rustix::process::geteuid().is_root() {
        backend.mount_at(&directory)?;
    } else {
        backend.check()?;
        let device = mount_by_helper(&image_path, &directory)?;
        backend.adopt(device).context("taking over the mount")?;
    }
    if !args.foreground && !supervise::into_background()? {
        return Ok(ExitStatus::Success);
    }
    supervise::set_name(HOLDER_NAME);
    supervise::supervise(&mut |start| backend.serve_plain(start))?;
    Ok(ExitStatus::Success)
}

/// The error with the image's name in it, once.
fn named(path: &Path, error: ImageError) -> anyhow::Error {
    match error {
        ImageError::Open { source, .. } => {
            anyhow::anyhow!(
                "could not open image {}: {}",
                path.display(),
                os_error(&source)
            )
        }
        other => anyhow::Error::new(other).context(format!("image {}", path.display())),
    }
}

/// Unmounts what [`mount`] mounted.
///
/// # Errors
/// What umount(2) or the helper say.
pub fn umount(args: &UmountArgs, _: &cli::Context) -> anyhow::Result<ExitStatus> {
    let [directory] = &args.words[..] else {
        bail!("the directory of a mount is needed");
    };
    let directory = Path::new(directory);
    if rustix::process::geteuid().is_root() {
        let flags = if args.lazy {
            rustix::mount::UnmountFlags::DETACH
        } else {
            rustix::mount::UnmountFlags::NOFOLLOW
        };
        return rustix::mount::unmount(directory, flags)
            .map(|()| ExitStatus::Success)
            .with_context(|| format!("unmounting {}", directory.display()));
    }
    for helper in HELPERS {
        let mut command = Command::new(helper);
        command.arg("-u");
        if args.lazy {
            command.arg("-z");
        }
        match command.arg("--").arg(directory).status() {
            Ok(status) if status.success() => return Ok(ExitStatus::Success),
            Ok(_) => bail!("{helper} did not unmount {}", directory.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("running {helper}")),
        }
    }
    bail!(no_helper())
}

fn no_helper() -> String {
    "fusermount3 is needed to mount outside a container and was not found in PATH: \
     install the package fuse3, or look at the image with `skiff shell`"
        .into()
}

/// Has the helper mount `directory`; returns the device that it sends.
fn mount_by_helper(image: &Path, directory: &Path) -> anyhow::Result<OwnedFd> {
    let options = format!("ro,nosuid,nodev,subtype=skiff,fsname={}", escaped(image));
    for helper in HELPERS {
        let (own, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::empty(),
            None,
        )?;
        rustix::io::fcntl_setfd(&own, rustix::io::FdFlags::CLOEXEC)?;
        let child = Command::new(helper)
            .args(["-o", &options, "--"])
            .arg(directory)
            .env(HELPER_SOCKET_VARIABLE, theirs.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .spawn();
        drop(theirs);
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("running {helper}")),
        };
        let device = receive_device(&own);
        let status = child.wait()?;
        return match device? {
            Some(device) if status.success() => Ok(device),
            _ => bail!("{helper} did not mount {}: {status}", directory.display()),
        };
    }
    bail!(no_helper())
}

/// A comma would end the option, and a backslash begins an escape (fusermount3(1)).
fn escaped(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(',', "\\,")
}

fn receive_device(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    rustix::net::recvmsg(
        socket.as_fd(),
        &mut [io::IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    }))
}
