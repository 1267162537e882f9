//! How a holder is born: what its starter sent it, and the way into the background.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::key::HolderKey;
use super::protocol::{self, Message};
use super::runtime_dir::RuntimeDir;
use crate::idmap::IdMap;
use crate::kernel::{self, Fork};

/// What a starter sent to the process it started.
#[derive(Debug)]
pub struct Summons {
    /// Path of the image, for people.
    pub image_path: PathBuf,
    /// Ids of the user namespace; `None`: the usual ones.
    pub ids: Option<IdMap>,
    image: Option<OwnedFd>,
    pub(super) key: HolderKey,
    pub(super) runtime_dir: PathBuf,
    pub(super) listener: OwnedFd,
    /// The starter waits here for what it asked.
    pub(super) first: OwnedFd,
}

/// Reads the summons from standard input and leaves the starter's session: the calling process
/// ends, a child of its goes on.
///
/// # Errors
/// When standard input is not a starter's socket.
pub fn accept() -> io::Result<Summons> {
    // What the starter's caller left open for the program (pipes, a launcher's sockets) must end
    // with the program and not with us.
    kernel::close_from(3)?;
    let first = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    let Some((
        Message::Start {
            key,
            runtime_dir,
            image,
            ids,
        },
        descriptors,
    )) = protocol::receive(&first)?
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "started by hand",
        ));
    };
    let [image_file, listener]: [OwnedFd; 2] = descriptors
        .try_into()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "descriptors are missing"))?;
    let ids = match ids.as_str() {
        "" => None,
        text => {
            let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "no map of ids");
            Some(IdMap::parse(text).ok_or_else(unknown)?)
        }
    };
    rustix::process::setsid()?;
    Ok(Summons {
        image_path: image,
        ids,
        image: Some(image_file),
        key: HolderKey::from_text(key),
        runtime_dir,
        listener,
        first,
    })
}

/// Splits into the process that the starter waits for and the holder proper: `true` in the latter.
///
/// # Errors
/// What fork(2) reports.
pub fn detach() -> io::Result<bool> {
    Ok(kernel::fork()? == Fork::Child)
}

impl Summons {
    /// The opened image; once.
    ///
    /// # Errors
    /// When it has been taken.
    pub fn take_image(&mut self) -> io::Result<OwnedFd> {
        self.image
            .take()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Tells the starter that nothing will come of it.
    pub fn refuse(self, reason: &str) {
        if let Ok(directory) = RuntimeDir::open_at(&self.runtime_dir) {
            directory.remove(&self.key.socket_name());
        }
        answer_failure(&self.first, reason);
        // Others may have queued meanwhile; they would fail in the same way, or get EOF and retry.
        drop(self.listener);
    }
}

/// Tells a launch that it will not get what it asked for.
pub(super) fn answer_failure(connection: &OwnedFd, reason: &str) {
    let failed = Message::Failed {
        reason: reason.to_owned(),
    };
    // The launch may be gone: then nobody is left to tell.
    let _gone = protocol::send(connection.as_fd(), &failed, &[]);
}
