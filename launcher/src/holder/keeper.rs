//! The holder's own life: mount, lend, restart the server, linger, leave.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, UnmountFlags};
use rustix::net::sockopt::Timeout;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::key::HolderKey;
use super::protocol::{self, Message, Stream};
use super::runtime_dir::RuntimeDir;
use super::summons::{Summons, answer_failure};
use super::supervise::{Restarts, Start, set_name, was_killed};
use super::{DEFAULT_LINGER, HOLDER_NAME, LINGER_VARIABLE, SERVER_NAME, client};
use crate::idmap::{self, IdMap};
use crate::kernel::{self, Fork};
use crate::rootfs::BindPoint;
use crate::security;

/// How long a connected launch may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the holder keeps mounted; the program implements it over its file system.
pub trait Backend {
    /// Mounts the image on the directory `target`, in the current namespaces.
    ///
    /// # Errors
    /// Worded for the user.
    fn mount(&mut self, target: &Path) -> io::Result<()>;

    /// Whether its servers may have something to say to those who launch, while all goes well.
    fn speaks(&self) -> bool {
        false
    }

    /// Serves the mount, in a process of its own, until it is gone from all namespaces.
    ///
    /// # Errors
    /// When it cannot go on; the holder then starts another server.
    fn serve(&mut self, server: ServerStart) -> io::Result<()>;
}

/// What a new server is given.
#[derive(Debug)]
pub struct ServerStart {
    /// Line to the holder, for [`super::control::obey`].
    pub control: OwnedFd,
    /// Views that exist already, in the order of their numbers.
    pub views: Vec<Vec<BindPoint>>,
    /// What came before it.
    pub start: Start,
    /// Where errors may be told.
    pub streams: Vec<Stream>,
    /// Root of the mount in the holder's namespace, opened with `O_PATH`. It keeps the mount: to be
    /// closed when the holder is gone.
    pub root: OwnedFd,
}

/// Keeps the image of `summons` mounted for all who ask, until nobody has for a while.
///
/// # Errors
/// When it cannot be mounted (the starter has been told), or when waiting fails.
pub fn keep(summons: Summons, backend: &mut dyn Backend) -> io::Result<()> {
    set_name(HOLDER_NAME);
    rustix::process::chdir("/")?;
    let directory = RuntimeDir::open_at(&summons.runtime_dir)?;
    let user_namespace = match enter_namespaces(summons.ids.as_ref())
        .and_then(|namespace| backend.mount(directory.path()).map(|()| namespace))
    {
        Ok(namespace) => namespace,
        Err(error) => {
            summons.refuse(&error.to_string());
            return Err(error);
        }
    };
    // What holds the image of all containers is open to none of them. Not earlier: the maps of the
    // user namespace are files that a closed process cannot write.
    security::close_to_others().map_err(io::Error::other)?;
    let Summons {
        key,
        listener,
        first,
        ..
    } = summons;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let mut keeper = Keeper {
        socket_name: key.socket_name(),
        key,
        directory,
        listener: Some(listener),
        user_namespace,
        backend,
        server: None,
        views: Vec::new(),
        launched: Vec::new(),
        streams: Vec::new(),
        linger: linger(),
        restarts: Restarts::default(),
    };
    keeper.start_server(Start::default())?;
    keeper.answer(&first);
    drop(first);
    keeper.run()
}

fn linger() -> Duration {
    std::env::var(LINGER_VARIABLE)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(DEFAULT_LINGER)
}

/// New mount namespace, for an ordinary user in a new user namespace with the own ids alone; with
/// `ids` always in a new user namespace, with these.
fn enter_namespaces(ids: Option<&IdMap>) -> io::Result<Option<OwnedFd>> {
    let privileged = ids.is_none()
        && rustix::process::geteuid().is_root()
        && kernel::unshare(UnshareFlags::NEWNS).is_ok();
    let namespace = if privileged {
        None
    } else {
        let ids = ids.cloned().unwrap_or_else(IdMap::own);
        idmap::enter_new_user_namespace(&ids, UnshareFlags::NEWNS).map_err(io::Error::other)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Some(rustix::fs::open(
            "/proc/self/ns/user",
            flags,
            Mode::empty(),
        )?)
    };
    // Mounts that the host lets go of must not be kept busy here, and ours must not show there.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)?;
    Ok(namespace)
}

/// Takes the calling process (a new server) out of the namespace that the mount is in, so that the
/// mount ends with the holder and the containers and not with the server, which waits for its end.
/// Returns the mount's root.
fn leave_mount(target: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(target, flags, Mode::empty())?;
    kernel::unshare(UnshareFlags::NEWNS)?;
    rustix::mount::unmount(target, UnmountFlags::DETACH)?;
    Ok(root)
}

struct Server {
    pid: Pid,
    pidfd: OwnedFd,
    control: OwnedFd,
    started: Instant,
}

struct View {
    points: Vec<BindPoint>,
    root: OwnedFd,
}

struct Keeper<'a> {
    key: HolderKey,
    socket_name: String,
    directory: RuntimeDir,
    /// `None` once the holder has said good-bye.
    listener: Option<OwnedFd>,
    user_namespace: Option<OwnedFd>,
    backend: &'a mut dyn Backend,
    server: Option<Server>,
    views: Vec<View>,
    /// pidfds of the processes that joined and still live.
    launched: Vec<OwnedFd>,
    /// Standard errors of launches, the latest ones.
    streams: Vec<Stream>,
    linger: Duration,
    restarts: Restarts,
}

impl Keeper<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut idle_since = self.launched.is_empty().then(Instant::now);
        loop {
            let timeout = idle_since.map(|since| self.linger.saturating_sub(since.elapsed()));
            if timeout == Some(Duration::ZERO) && self.leave()? {
                return Ok(());
            }
            let ready = self.wait(timeout)?;
            if ready.server_ended {
                self.reap_and_restart()?;
            }
            self.launched = std::mem::take(&mut self.launched)
                .into_iter()
                .zip(ready.launched_ended)
                .filter_map(|(pidfd, ended)| (!ended).then_some(pidfd))
                .collect();
            if ready.knock {
                self.accept_all();
            }
            if !self.launched.is_empty() {
                idle_since = None;
            } else if idle_since.is_none() || ready.knock {
                idle_since = Some(Instant::now());
            }
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut watched = Vec::with_capacity(2 + self.launched.len());
        watched.extend(
            self.listener
                .as_ref()
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        watched.extend(
            self.server
                .as_ref()
                .map(|server| PollFd::new(&server.pidfd, PollFlags::IN)),
        );
        let fixed = watched.len();
        watched.extend(
            self.launched
                .iter()
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut events = watched.iter().map(|fd| !fd.revents().is_empty());
        let knock = self.listener.is_some() && events.next().unwrap_or(false);
        let server_ended = self.server.is_some() && events.next().unwrap_or(false);
        let launched_ended = watched[fixed..]
            .iter()
            .map(|fd| !fd.revents().is_empty())
            .collect();
        Ok(Ready {
            knock,
            server_ended,
            launched_ended,
        })
    }

    fn accept_all(&mut self) {
        let Some(listener) = self.listener.as_ref() else {
            return;
        };
        let mut waiting = Vec::new();
        while let Ok(connection) = accept_with(listener, SocketFlags::CLOEXEC) {
            waiting.push(connection);
        }
        for connection in waiting {
            self.answer(&connection);
        }
    }

    /// Answers one launch; what goes wrong with it is its own trouble, not the holder's.
    fn answer(&mut self, connection: &OwnedFd) {
        if let Err(error) = self.try_answer(connection) {
            answer_failure(connection, &error.to_string());
        }
    }

    fn try_answer(&mut self, connection: &OwnedFd) -> io::Result<()> {
        let peer = client::check_peer(connection)?;
        // While it waits for our answer its number cannot be used anew.
        let pidfd = rustix::process::pidfd_open(peer, PidfdFlags::empty())?;
        rustix::net::sockopt::set_socket_timeout(connection, Timeout::Recv, Some(REQUEST_TIMEOUT))?;
        let Some((message, _)) = protocol::receive(connection)? else {
            return Ok(());
        };
        match message {
            Message::Join {
                key,
                points,
                stderr,
            } => {
                self.check_key(&key)?;
                self.pass_on(stderr);
                let tree = self.tree_with(points)?;
                let mut descriptors = vec![tree.as_fd()];
                descriptors.extend(self.user_namespace.as_ref().map(AsFd::as_fd));
                protocol::send(connection.as_fd(), &Message::Joined, &descriptors)?;
                self.launched.push(pidfd);
                Ok(())
            }
            Message::Statistics { key } => {
                self.check_key(&key)?;
                let figures = self.ask_server(&Message::Statistics { key: String::new() })?;
                protocol::send(connection.as_fd(), &figures.0, &[])
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a request to a holder",
            )),
        }
    }

    /// Lets the server know where it may tell errors.
    fn pass_on(&mut self, stream: Stream) {
        if stream == Stream::default() || self.streams.contains(&stream) {
            return;
        }
        if self.streams.len() >= MAX_STREAMS {
            self.streams.remove(0);
        }
        self.streams.push(stream);
        if let Some(server) = self.server.as_ref().filter(|_| self.backend.speaks()) {
            // A server that is dead has a successor, which gets the whole list. One that is still
            // opening its image reads nothing: launches are not to wait for it with this.
            let _dead_or_behind =
                protocol::send_at_once(server.control.as_fd(), &Message::Stderr { stream });
        }
    }

    fn check_key(&self, key: &str) -> io::Result<()> {
        if key == self.key.text() {
            Ok(())
        } else {
            Err(io::Error::other(
                "this socket serves another image with the same short name",
            ))
        }
    }

    /// A detached mount of the view with `points`.
    fn tree_with(&mut self, mut points: Vec<BindPoint>) -> io::Result<OwnedFd> {
        points.sort();
        points.dedup();
        let known = self.views.iter().position(|view| view.points == points);
        let number = match known {
            Some(number) => number,
            None => {
                let request = Message::AddView {
                    points: points.clone(),
                };
                let (answer, descriptors) = self.ask_server(&request)?;
                let root = match (answer, descriptors.into_iter().next()) {
                    (Message::ViewAdded, Some(root)) => root,
                    (Message::Failed { reason }, _) => return Err(io::Error::other(reason)),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                };
                self.views.push(View { points, root });
                self.views.len() - 1
            }
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(rustix::mount::open_tree(
            &self.views[number].root,
            "",
            flags,
        )?)
    }

    /// Sends `request` to the server and waits for its answer, through deaths of servers.
    fn ask_server(&mut self, request: &Message) -> io::Result<(Message, Vec<OwnedFd>)> {
        for _ in 0..MAX_ASK_TRIES {
            let Some(server) = self.server.as_ref() else {
                return Err(io::Error::other("the image's server is gone"));
            };
            let answer = protocol::send(server.control.as_fd(), request, &[])
                .and_then(|()| protocol::receive(&server.control));
            match answer {
                Ok(Some(answer)) => return Ok(answer),
                // Only a dead server closes its end.
                Ok(None) | Err(_) => self.reap_and_restart()?,
            }
        }
        Err(io::Error::other("the image's server keeps dying"))
    }

    fn start_server(&mut self, start: Start) -> io::Result<()> {
        let (own, theirs) = protocol::socket_pair()?;
        let views = self.views.iter().map(|view| view.points.clone()).collect();
        match kernel::fork()? {
            Fork::Parent(pid) => {
                let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
                drop(theirs);
                let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
                self.server = Some(Server {
                    pid,
                    pidfd,
                    control: own,
                    started: Instant::now(),
                });
                Ok(())
            }
            Fork::Child => {
                drop(own);
                // What only the holder may keep: a launch that waits must see it end.
                self.listener = None;
                self.server = None;
                self.launched.clear();
                self.views.clear();
                let streams = std::mem::take(&mut self.streams);
                set_name(SERVER_NAME);
                let served = leave_mount(self.directory.path()).and_then(|root| {
                    self.backend.serve(ServerStart {
                        control: theirs,
                        views,
                        start,
                        streams,
                        root,
                    })
                });
                kernel::exit_now(i32::from(served.is_err()))
            }
        }
    }

    fn reap_and_restart(&mut self) -> io::Result<()> {
        let mut start = Start {
            restarted: true,
            hopeless: false,
        };
        if let Some(server) = self.server.take() {
            // Closing the line first: a server that is merely deaf must not be waited for.
            drop(server.control);
            // It may be dead already, which is the usual case.
            let _dead = rustix::process::pidfd_send_signal(&server.pidfd, Signal::KILL);
            let ended = rustix::process::waitpid(Some(server.pid), WaitOptions::empty())?;
            let ended = ended.map(|(_, status)| status);
            if ended.is_some_and(|status| status.exit_status() == Some(0)) {
                // It ends well only when the kernel says that the connection is no more: an
                // administrator aborted it. Newcomers shall get a fresh one.
                self.directory.remove(&self.socket_name);
                return Err(io::Error::other("the connection to the kernel was aborted"));
            }
            start = self
                .restarts
                .after(server.started.elapsed(), was_killed(ended));
        }
        self.start_server(start)
    }

    /// Ends the holder's service unless someone knocked at the last moment: `true` when done.
    fn leave(&mut self) -> io::Result<bool> {
        // Under the lock nobody can be about to start a holder, and whoever connected before is
        // in the queue.
        let lock = self.directory.lock()?;
        self.accept_all();
        if !self.launched.is_empty() {
            return Ok(false);
        }
        // A directory that is a mount point, even only here, cannot be removed.
        self.views.clear();
        rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH)?;
        self.directory.remove(&self.socket_name);
        self.listener = None;
        drop(lock);
        Ok(true)
    }
}

/// Standard errors remembered: launches of a job step share one, or have one each.
const MAX_STREAMS: usize = 1024;

/// Servers that one request may outlive.
const MAX_ASK_TRIES: usize = 100;

struct Ready {
    knock: bool,
    server_ended: bool,
    launched_ended: Vec<bool>,
}
