//! What /proc tells about a process, asked through a descriptor of /proc: a process in a container
//! would find the container's there.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// The host's /proc.
#[derive(Debug)]
pub(super) struct Proc(OwnedFd);

/// A process at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// Its parent.
    pub(super) parent: i32,
    /// When it was started, in ticks since the boot.
    pub(super) start: u64,
    /// Whom its files belong to: its user, or root where it does not let itself be looked at.
    pub(super) uid: u32,
}

impl Proc {
    /// Opens it; the caller is still on the host.
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, "/proc", flags, Mode::empty())?;
        Ok(Self(directory))
    }

    /// The text of `path` below it.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, path, flags, Mode::empty())?;
        let mut text = String::new();
        // No file of /proc that is read here is long.
        File::from(file).take(1 << 16).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Looks at process `pid`; `None` when it is gone, or dead and not yet waited for.
    ///
    /// # Errors
    /// It cannot be told.
    pub(super) fn look(&self, pid: i32) -> io::Result<Option<Seen>> {
        let uid = match rustix::fs::statat(&self.0, pid.to_string(), AtFlags::empty()) {
            Ok(stat) => stat.st_uid,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let text = match self.read(&format!("{pid}/stat")) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (state, parent, start) = parse_stat(&text).ok_or(io::ErrorKind::InvalidData)?;
        Ok((!matches!(state, 'Z' | 'X')).then_some(Seen { parent, start, uid }))
    }

    /// The number of the PID namespace, and the boot.
    pub(super) fn era(&self) -> io::Result<(u64, String)> {
        let namespace = rustix::fs::statat(&self.0, "self/ns/pid", AtFlags::empty())?.st_ino;
        let boot = self.read("sys/kernel/random/boot_id")?.trim().to_owned();
        Ok((namespace, boot))
    }

    /// Namespace `kind` of process `pid`.
    pub(super) fn namespace(&self, pid: i32, kind: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("{pid}/ns/{kind}");
        Ok(rustix::fs::openat(&self.0, path, flags, Mode::empty())?)
    }

    /// The inode number of namespace `kind` of process `pid`, `None` where it may not be seen.
    pub(super) fn namespace_number(&self, pid: &str, kind: &str) -> Option<u64> {
        let path = format!("{pid}/ns/{kind}");
        let stat = rustix::fs::statat(&self.0, path, AtFlags::empty()).ok()?;
        Some(stat.st_ino)
    }

    /// Numbers of all processes.
    pub(super) fn pids(&self) -> io::Result<Vec<i32>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.0, ".", flags, Mode::empty())?;
        let mut pids = Vec::new();
        for entry in rustix::fs::Dir::new(directory)? {
            if let Some(pid) = entry?
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse().ok())
            {
                pids.push(pid);
            }
        }
        Ok(pids)
    }

    /// Whether process `pid` has no children; `None` where the kernel does not tell.
    pub(super) fn is_childless(&self, pid: i32) -> Option<bool> {
        let children = self.read(&format!("{pid}/task/{pid}/children")).ok()?;
        Some(children.trim().is_empty())
    }
}

/// Whether `error` says that there is no such process, or is none any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// State, parent and start time from `/proc/PID/stat`; the name in it may hold anything.
fn parse_stat(text: &str) -> Option<(char, i32, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of the whole line.
    let start = fields.nth(17)?.parse().ok()?;
    Some((state, parent, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = "77 (a) S 9 (b) S 12 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100";
        assert_eq!(parse_stat(line), Some(('S', 12, 4242)));
        assert_eq!(parse_stat("77 (a"), None);
        assert_eq!(parse_stat("77 (a) S 1"), None);
    }

    #[test]
    fn this_process() {
        let proc = Proc::open().unwrap();
        let pid = rustix::process::getpid().as_raw_pid();
        let seen = proc.look(pid).unwrap().unwrap();
        assert_eq!(
            seen.parent,
            rustix::process::Pid::as_raw(rustix::process::getppid())
        );
        assert!(seen.start > 0);
        assert!(proc.pids().unwrap().contains(&pid));
        assert_eq!(proc.look(i32::MAX).unwrap(), None);
        assert_eq!(proc.look(-1).unwrap(), None);
    }
}
