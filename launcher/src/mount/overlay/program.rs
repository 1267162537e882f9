//! Mounts made by other programs: fuse2fs and fuse-overlayfs.
//!
//! ```text
//! we ── fork ──► nurse: mount namespace of its own, a tmpfs over /sys as the place to work
//!                  └─ fork ──► the program, mounting on /sys/mount
//! we ◄─ detached copy of the mount ─┘ ends; nothing but the copy holds the mount then
//! ```
//! The program mounts by itself on a path, since older libfuse knows no other way. It has a clean
//! environment, its own session, and stays outside of the container's namespaces; once the last
//! mount is gone the kernel tells it to end.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::Stack;
use super::error::OverlayError;
use crate::error::{errno_reason, reason};
use crate::holder::protocol::{self, Message};
use crate::kernel::{self, Fork};
use crate::mount::session::tree_of;
use crate::mount::{resolve, tree};
use crate::programs;

/// Directories that nothing in the programs' lives needs, for the nurse to work on.
const WORKPLACES: [&str; 4] = ["/sys", "/mnt", "/media", "/srv"];

/// Most of what a program says that is kept.
const MAX_WORDS: u64 = 64 * 1024;

/// Capabilities in our own user namespace that a program needs to mount and to act as its owner.
const CAPABILITIES: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID);

/// An ext3 image to mount.
#[derive(Debug)]
pub(super) struct Ext3<'a> {
    /// Open, and locked.
    pub(super) file: BorrowedFd<'a>,
    /// First byte of the file system.
    pub(super) offset: u64,
    /// Mounted for writing.
    pub(super) writable: bool,
    /// To be held open until all is written.
    pub(super) flushing: Option<BorrowedFd<'a>>,
}

/// Mounts an ext3 image by fuse2fs.
///
/// # Errors
/// It is not installed, or does not like the image.
pub(super) fn ext3(image: &Ext3<'_>) -> Result<OwnedFd, OverlayError> {
    let name = "fuse2fs";
    let path = programs::find(name).ok_or(OverlayError::NoProgram {
        name,
        package: "fuse2fs",
    })?;
    let mut options = String::from("allow_other,fakeroot");
    if !image.writable {
        options.push_str(",ro");
    }
    if image.offset > 0 {
        options.push_str(&format!(",offset={}", image.offset));
    }
    run(&Program {
        name,
        path,
        arguments: &|_| {
            vec![
                "-f".into(),
                "-o".into(),
                options.clone().into(),
                format!("/proc/self/fd/{}", image.file.as_raw_fd()).into(),
            ]
        },
        trees: Vec::new(),
        inherited: std::iter::once(image.file).chain(image.flushing).collect(),
    })
}

/// An overlay by fuse-overlayfs.
///
/// # Errors
/// It is not installed, or does not like the layers.
pub(super) fn overlay(stack: &Stack) -> Result<OwnedFd, OverlayError> {
    let name = "fuse-overlayfs";
    let path = programs::find(name).ok_or(OverlayError::NoProgram {
        name,
        package: "fuse-overlayfs",
    })?;
    let failed = |error| OverlayError::Start {
        name,
        reason: errno_reason(error),
    };
    let trees = stack
        .lower
        .iter()
        .chain(&stack.upper)
        .map(|directory| tree_of(directory.as_fd()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let count = stack.lower.len();
    let has_upper = stack.upper.is_some();
    run(&Program {
        name,
        path,
        arguments: &|workplace| {
            let lower: Vec<String> = (0..count)
                .map(|number| format!("{workplace}/{number}"))
                .collect();
            let mut options = format!("allow_other,lowerdir={}", lower.join(":"));
            if has_upper {
                options.push_str(&format!(
                    ",upperdir={workplace}/{count}/upper,workdir={workplace}/{count}/work"
                ));
            }
            options.push_str(",noacl");
            vec!["-f".into(), "-o".into(), options.into()]
        },
        trees,
        inherited: Vec::new(),
    })
}

/// A program that mounts.
struct Program<'a> {
    name: &'static str,
    path: PathBuf,
    /// All arguments but the mount point, by the workplace, in which the trees lie by number.
    arguments: &'a dyn Fn(&str) -> Vec<OsString>,
    /// Detached trees it works on.
    trees: Vec<OwnedFd>,
    /// Descriptors that it has under their own numbers.
    inherited: Vec<BorrowedFd<'a>>,
}

/// Starts `program` and returns a detached copy of what it mounted.
fn run(program: &Program<'_>) -> Result<OwnedFd, OverlayError> {
    let name = program.name;
    let failed = |error: io::Error| OverlayError::Start {
        name,
        reason: reason(&error),
    };
    let (own, theirs) = protocol::socket_pair().map_err(failed)?;
    match kernel::fork().map_err(failed)? {
        Fork::Parent(child) => {
            drop(theirs);
            let answer = protocol::receive(&own);
            let _ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
            match answer.map_err(failed)? {
                Some((Message::Joined, mut descriptors)) if descriptors.len() == 1 => {
                    Ok(descriptors.remove(0))
                }
                Some((Message::Failed { reason }, _)) => {
                    Err(OverlayError::Failed { name, said: reason })
                }
                _ => Err(OverlayError::Failed {
                    name,
                    said: "no answer".to_owned(),
                }),
            }
        }
        Fork::Child => {
            drop(own);
            let sent = match nurse(program) {
                Ok(tree) => protocol::send(theirs.as_fd(), &Message::Joined, &[tree.as_fd()]),
                Err(reason) => protocol::send(theirs.as_fd(), &Message::Failed { reason }, &[]),
            };
            kernel::exit_now(i32::from(sent.is_err()))
        }
    }
}

/// Makes the program a place to work, starts it and waits for its mount.
fn nurse(program: &Program<'_>) -> Result<OwnedFd, String> {
    let io = |step: &'static str| move |error: io::Error| format!("{step}: {}", reason(&error));
    let errno = |step: &'static str| move |error: Errno| format!("{step}: {}", errno_reason(error));
    // A key of the terminal must not end us and leave the program behind, which would hold its image
    // for ever: whoever started us may die of it, and then the program ends with its only mount.
    kernel::block_signals().map_err(io("blocking signals"))?;
    kernel::unshare(UnshareFlags::NEWNS).map_err(io("new mount namespace"))?;
    let workplace = WORKPLACES
        .into_iter()
        .find(|place| Path::new(place).is_dir())
        .ok_or("no directory to work on")?;
    let bench = tree::new_mount(
        "tmpfs",
        &[("mode", "0755"), ("size", "1m")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .map_err(errno("mounting a tmpfs"))?;
    move_mount(
        &bench,
        c"",
        CWD,
        workplace,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(errno("mounting a tmpfs"))?;
    for (number, tree) in program.trees.iter().enumerate() {
        let name = number.to_string();
        let place = resolve::make_directory(bench.as_fd(), name.as_ref(), 0o755)
            .map_err(errno("making a directory"))?;
        tree::attach(tree.as_fd(), place.as_fd()).map_err(errno("attaching a layer"))?;
    }
    let target = format!("{workplace}/mount");
    resolve::make_directory(bench.as_fd(), "mount".as_ref(), 0o755)
        .map_err(errno("making a directory"))?;
    let words = rustix::fs::memfd_create(c"words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(errno("making a memory file"))?;
    rustix::fs::ftruncate(&words, MAX_WORDS).map_err(errno("making a memory file"))?;
    // However much it says over the days, this is all the room there is.
    rustix::fs::fcntl_add_seals(&words, SealFlags::GROW | SealFlags::SHRINK)
        .map_err(errno("making a memory file"))?;
    let child = match kernel::fork().map_err(io("starting the program"))? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let error = become_program(program, workplace, &target, words.as_fd());
            let text = format!("{}: {}", program.path.display(), reason(&error));
            // Whatever descriptors are gone by now: this one is the words.
            let _lost = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            kernel::exit_now(127)
        }
    };
    take_mount(child, &target, words).inspect_err(|_| {
        // Nobody else would end it. One that is gone already has been waited for.
        kernel::send_signal(child, libc::SIGKILL);
        let _ended = waitpid(Pid::from_raw(child), WaitOptions::empty());
    })
}

/// Takes what the program, `child`, mounts at `target`, or says why there is nothing.
fn take_mount(child: i32, target: &str, words: OwnedFd) -> Result<OwnedFd, String> {
    let errno = |step: &'static str| move |error: Errno| format!("{step}: {}", errno_reason(error));
    wait_for_mount(child, target).map_err(|ended| {
        let said = read_words(words);
        if said.is_empty() { ended } else { said }
    })?;
    let mounted = tree::clone_tree(CWD, Path::new(target)).map_err(errno("taking the mount"))?;
    // The program's own namespace must not keep it alive.
    unmount(target, UnmountFlags::DETACH).map_err(errno("letting go of the mount"))?;
    Ok(mounted)
}

/// Waits until something is mounted at `target` and answers.
fn wait_for_mount(child: i32, target: &str) -> Result<(), String> {
    let mut pause = Duration::from_micros(200);
    loop {
        let place = rustix::fs::openat(CWD, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let mounted = place
            .as_ref()
            .is_ok_and(|place| resolve::place(place.as_fd()).is_ok_and(|place| place.mount_root));
        if mounted {
            // The first question is answered once the program is ready.
            return rustix::fs::statfs(target)
                .map(drop)
                .map_err(|error| format!("it does not answer: {}", errno_reason(error)));
        }
        match waitpid(Pid::from_raw(child), WaitOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => {}
            Ok(Some((_, status))) => {
                return Err(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("exit status {code}"),
                    (_, Some(signal)) => format!("killed by signal {signal}"),
                    _ => "it ended".to_owned(),
                });
            }
            // There is nobody to wait for.
            Err(error) => return Err(format!("waiting for it: {}", errno_reason(error))),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn read_words(words: OwnedFd) -> String {
    let mut file = std::fs::File::from(words);
    let mut text = Vec::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut text));
    if read.is_err() {
        return String::new();
    }
    let text: Vec<u8> = text.into_iter().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Becomes the program; returns why not.
fn become_program(
    program: &Program<'_>,
    workplace: &str,
    target: &str,
    words: BorrowedFd<'_>,
) -> io::Error {
    let prepare = || -> io::Result<()> {
        // Keys of the terminal are not for it.
        rustix::process::setsid()?;
        kernel::unblock_signals()?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        drop(null);
        rustix::stdio::dup2_stdout(words)?;
        rustix::stdio::dup2_stderr(words)?;
        for descriptor in &program.inherited {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        // Whoever called us may have left some open, of a pipe whose end somebody waits for.
        kernel::close_all_but(&program.inherited)?;
        keep_capabilities()?;
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::chdir("/")?;
        Ok(())
    };
    if let Err(error) = prepare() {
        return error;
    }
    let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let mut arguments = vec![text(program.name.as_ref())];
    arguments.extend((program.arguments)(workplace).iter().map(|it| text(it)));
    arguments.push(text(target.as_ref()));
    let environment = [
        text("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ref()),
        text("LC_ALL=C".as_ref()),
    ];
    kernel::execute(&text(program.path.as_os_str()), &arguments, &environment)
}

/// Lets the program have, in our user namespace, what it needs to mount.
fn keep_capabilities() -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let held = rustix::thread::capabilities(None)?;
    let wanted = held.permitted & CAPABILITIES;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            inheritable: wanted,
            ..held
        },
    )?;
    for capability in wanted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
