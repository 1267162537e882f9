//! A launch's way to its image: join the holder, or start it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::key::HolderKey;
use super::protocol::{self, Message, Stream};
use super::runtime_dir::RuntimeDir;
use crate::idmap::IdMap;
use crate::rootfs::{BindPoint, Rootfs};

/// Hidden command that a holder is started as; `serve IMAGE`, with its socket as standard input.
pub const SERVE_COMMAND: &str = "serve";

/// Holders may end just as one is asked; each try starts over.
const MAX_TRIES: usize = 16;

/// Launches that may wait for one holder; more wait in connect(2).
const BACKLOG: i32 = 4096;

/// Variables that end with the launch: a holder may live for days, and has no use for them.
const SECRETS: [&str; 2] = [
    "APPTAINER_ENCRYPTION_PASSPHRASE",
    "APPTAINER_ENCRYPTION_PEM_DATA",
];

/// Finds variables for a holder.
pub type Variables<'a> = dyn Fn() -> io::Result<Vec<(&'static str, OsString)>> + 'a;

/// The image that a holder is wanted for.
pub struct Target<'a> {
    /// Who shares it.
    pub key: HolderKey,
    /// Ids of the image's user namespace; `None`: the caller's, each under its own number.
    pub ids: Option<IdMap>,
    /// What the holder serves: the opened image, whatever its name comes to mean, or a description
    /// that [`super::summons::Summons::take_image`] hands to the program unread.
    pub image: BorrowedFd<'a>,
    /// Its name, for people.
    pub path: &'a Path,
    /// The program to start as holder; called as `PROGRAM serve IMAGE`.
    pub program: PathBuf,
    /// Variables for it beside those of this process: what only this one, on the host, can find out.
    /// Asked for only when a holder has to be started.
    pub variables: &'a Variables<'a>,
}

impl std::fmt::Debug for Target<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Target")
            .field("key", &self.key)
            .field("path", &self.path)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// Gets a tree of `target` in which `points` exist, from its holder.
///
/// # Errors
/// What keeps the image from being mounted, worded for the user.
pub fn join(target: &Target<'_>, points: &[BindPoint]) -> io::Result<Rootfs> {
    let request = Message::Join {
        key: target.key.text().to_owned(),
        points: points.to_vec(),
        stderr: Stream::of(rustix::stdio::stderr()),
    };
    for _ in 0..MAX_TRIES {
        let directory = RuntimeDir::open()?;
        let Some(socket) = connect_or_start(&directory, target)? else {
            continue;
        };
        match exchange(&socket, &request) {
            Ok(Some((Message::Joined, descriptors))) => {
                let mut descriptors = descriptors.into_iter();
                let Some(tree) = descriptors.next() else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "no tree was sent",
                    ));
                };
                return Ok(Rootfs {
                    tree,
                    user_namespace: descriptors.next(),
                });
            }
            Ok(Some((Message::Failed { reason }, _))) => return Err(io::Error::other(reason)),
            Ok(Some(_)) => return Err(io::ErrorKind::InvalidData.into()),
            // It ended between our knock and its answer.
            Ok(None) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(
        "the process that serves the image keeps ending; see `skiff doctor`",
    ))
}

/// Figures of the running server of `key`, as JSON; `None` when there is none.
///
/// # Errors
/// When the holder cannot be asked.
pub fn statistics(key: &HolderKey) -> io::Result<Option<String>> {
    let directory = RuntimeDir::open()?;
    let Some(socket) = connect(&directory, key)? else {
        return Ok(None);
    };
    match exchange(
        &socket,
        &Message::Statistics {
            key: key.text().to_owned(),
        },
    ) {
        Ok(Some((Message::Figures { json }, _))) => Ok(Some(json)),
        Ok(Some((Message::Failed { reason }, _))) => Err(io::Error::other(reason)),
        Ok(Some(_)) => Err(io::ErrorKind::InvalidData.into()),
        Ok(None) => Ok(None),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn exchange(socket: &OwnedFd, request: &Message) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    protocol::send(socket.as_fd(), request, &[])?;
    protocol::receive(socket)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// A connection to a running holder.
fn connect(directory: &RuntimeDir, key: &HolderKey) -> io::Result<Option<OwnedFd>> {
    let address = SocketAddrUnix::new(directory.path().join(key.socket_name()))?;
    let socket = new_socket()?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            // Absent, or left behind by a holder that was killed.
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
    check_peer(&socket)?;
    Ok(Some(socket))
}

/// Refuses a peer of another user: the directory is private, but a check costs one system call.
pub(super) fn check_peer(socket: &OwnedFd) -> io::Result<rustix::process::Pid> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?;
    if peer.uid == rustix::process::geteuid() {
        Ok(peer.pid)
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the other end of the holder's socket belongs to uid {}",
                peer.uid.as_raw()
            ),
        ))
    }
}

/// Connects, or starts a holder and returns the connection it was born with. `None`: try again.
fn connect_or_start(directory: &RuntimeDir, target: &Target<'_>) -> io::Result<Option<OwnedFd>> {
    if let Some(socket) = connect(directory, &target.key)? {
        return Ok(Some(socket));
    }
    let Some(lock) = directory.lock()? else {
        return Ok(None);
    };
    // Someone else may have been first.
    if let Some(socket) = connect(directory, &target.key)? {
        return Ok(Some(socket));
    }
    let path = directory.path().join(target.key.socket_name());
    match rustix::fs::unlinkat(CWD, &path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let listener = new_socket()?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path)?)?;
    rustix::net::listen(&listener, BACKLOG)?;
    // From here on others queue on the socket instead of starting a second holder.
    drop(lock);
    let started = start(directory, target, &listener);
    if started.is_err() {
        directory.remove(&target.key.socket_name());
    }
    started.map(Some)
}

fn start(directory: &RuntimeDir, target: &Target<'_>, listener: &OwnedFd) -> io::Result<OwnedFd> {
    let variables = (target.variables)()?;
    let (own, theirs) = protocol::socket_pair()?;
    let start = Message::Start {
        key: target.key.text().to_owned(),
        runtime_dir: directory.path().to_path_buf(),
        image: target.path.to_path_buf(),
        ids: target
            .ids
            .as_ref()
            .map(IdMap::to_string)
            .unwrap_or_default(),
    };
    protocol::send(own.as_fd(), &start, &[target.image, listener.as_fd()])?;
    // The child forks itself into the background and ends; what it leaves is nobody's child here.
    let mut command = Command::new(&target.program);
    for name in SECRETS {
        command.env_remove(name);
    }
    let status = command
        .arg0("skiff")
        .arg(SERVE_COMMAND)
        .arg(target.path)
        .envs(variables)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| {
            let program = target.program.display();
            io::Error::new(error.kind(), format!("starting {program}: {error}"))
        })?;
    if status.success() {
        Ok(own)
    } else {
        Err(io::Error::other(format!(
            "the image's server did not start: {status}"
        )))
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}
