//! A connection to the kernel's FUSE driver: device, mount, handshake.
//!
//! Whoever makes the connection (the holder) also shakes hands, so that servers, the first like the
//! tenth, only ever see requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::abi::{self, Request, init, opcode};
use super::reply::{Encoder, Replier};

/// Where the driver is reached.
pub const DEVICE_PATH: &str = "/dev/fuse";

/// Largest request read: the kernel wants room for a write of `MAX_WRITE_BYTES` with its headers
/// (fs/fuse/dev.c, `fuse_dev_do_read`), though none will come.
pub(crate) const REQUEST_BUFFER_BYTES: usize = MAX_WRITE_BYTES as usize + 4096;

const MAX_WRITE_BYTES: u32 = 128 << 10;

/// Pages per request (1 MiB); reached where an administrator raised the device's read-ahead.
const MAX_PAGES: u16 = 256;

/// Read-ahead requests in flight; the default of 12 starves parallel readers.
const MAX_BACKGROUND: u16 = 64;
const CONGESTION_THRESHOLD: u16 = 48;

/// What both sides agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Minor protocol version of the kernel.
    pub kernel_minor: u32,
    /// Requests of a dead server can be had again (kernel 6.9).
    pub resend: bool,
}

/// Opens the FUSE device.
///
/// # Errors
/// With what to do about it.
pub fn open_device() -> io::Result<OwnedFd> {
    rustix::fs::open(DEVICE_PATH, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        let remedy = match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => "load the module: modprobe fuse",
            Errno::ACCESS | Errno::PERM => {
                "it must be open to all users: chmod 666 /dev/fuse, as root"
            }
            _ => "see `skiff doctor`",
        };
        let kind = io::Error::from(errno).kind();
        io::Error::new(
            kind,
            format!("cannot open {DEVICE_PATH}: {errno}; {remedy}"),
        )
    })
}

/// Opens one more device on the connection of `device`, for a thread of its own.
///
/// # Errors
/// What the kernel reports.
pub fn clone_device(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let new = open_device()?;
    super::sys::clone_device(new.as_fd(), device)?;
    Ok(new)
}

/// Mounts the connection of `device` on the directory `target`, read-only, by mount(2): in a user
/// namespace or as root. The kernel judges every access by mode and owner, as it does for the file
/// systems of its own.
///
/// # Errors
/// What the kernel reports.
pub fn mount(device: BorrowedFd<'_>, target: &Path, source: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let options = format!(
        "fd={},rootmode=40000,user_id={uid},group_id={gid},allow_other,default_permissions",
        device.as_raw_fd(),
    );
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(source, target, "fuse.skiff", flags, options.as_c_str())?;
    Ok(())
}

/// Answers the kernel's INIT, the first request of a fresh connection.
///
/// # Errors
/// When the kernel speaks another protocol, or the device fails.
pub fn handshake(device: BorrowedFd<'_>) -> io::Result<Negotiated> {
    let mut buffer = vec![0; REQUEST_BUFFER_BYTES];
    loop {
        let count = match rustix::io::read(device, &mut buffer[..]) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let request = Request::parse(&buffer[..count]).ok_or(Errno::PROTO)?;
        let replier = Replier::new(device);
        if request.opcode != opcode::INIT {
            replier.error(request.unique, Errno::IO)?;
            continue;
        }
        let (body, negotiated) = answer_init(request.body).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel's FUSE protocol is too old",
            )
        })?;
        if negotiated.is_none() {
            // A newer major: the kernel comes again with ours.
            replier.data(request.unique, body.bytes())?;
            continue;
        }
        replier.data(request.unique, body.bytes())?;
        return Ok(negotiated.expect("checked above"));
    }
}

/// `struct fuse_init_in` to `struct fuse_init_out`; `None` for a kernel that is too old.
fn answer_init(body: &[u8]) -> Option<(Encoder, Option<Negotiated>)> {
    let major = abi::u32_at(body, 0)?;
    let minor = abi::u32_at(body, 4)?;
    let max_readahead = abi::u32_at(body, 8)?;
    let low = abi::u32_at(body, 12)?;
    let high = abi::u32_at(body, 16).unwrap_or(0);
    let mut out = Encoder::default();
    if major > abi::MAJOR {
        out.u32(abi::MAJOR);
        out.zeros(60);
        return Some((out, None));
    }
    if major < abi::MAJOR || minor < 31 {
        return None;
    }
    let offered = u64::from(low)
        | if u64::from(low) & init::INIT_EXT != 0 {
            u64::from(high) << 32
        } else {
            0
        };
    let wanted = init::ASYNC_READ
        | init::DO_READDIRPLUS
        | init::READDIRPLUS_AUTO
        | init::NO_OPEN_SUPPORT
        | init::NO_OPENDIR_SUPPORT
        | init::PARALLEL_DIROPS
        | init::MAX_PAGES
        | init::CACHE_SYMLINKS
        | init::EXPLICIT_INVAL_DATA
        | init::INIT_EXT
        | init::HAS_RESEND;
    let agreed = offered & wanted;
    out.u32(abi::MAJOR);
    out.u32(abi::MINOR.min(minor));
    out.u32(max_readahead);
    out.u32((agreed & u64::from(u32::MAX)) as u32);
    out.u16(MAX_BACKGROUND);
    out.u16(CONGESTION_THRESHOLD);
    out.u32(MAX_WRITE_BYTES);
    // Granularity of times: whole seconds are all that the formats have.
    out.u32(1_000_000_000);
    out.u16(MAX_PAGES);
    out.u16(0);
    out.u32((agreed >> 32) as u32);
    out.zeros(64 - out.len());
    let negotiated = Negotiated {
        kernel_minor: minor,
        resend: agreed & init::HAS_RESEND != 0,
    };
    Some((out, Some(negotiated)))
}

/// Asks for the requests that a dead server had taken (`FUSE_NOTIFY_RESEND`).
///
/// # Errors
/// What the kernel reports; `EINVAL` before 6.9.
pub fn resend(device: BorrowedFd<'_>) -> io::Result<()> {
    Ok(Replier::new(device).notify(abi::notify::RESEND, &[])?)
}
