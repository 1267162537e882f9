//! The private directory in which holders are found.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Environment variable that names the directory to use.
pub const RUNTIME_DIR_VARIABLE: &str = "SKIFF_RUNTIME_DIR";

/// How often a directory that another process removed meanwhile is made anew.
const MAX_TRIES: usize = 100;

/// A directory of mode 0700 that belongs to the user, open and checked.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    directory: OwnedFd,
}

/// Exclusive use of the directory among processes that start or end holders; ends when dropped.
#[derive(Debug)]
pub struct RuntimeDirLock(#[expect(dead_code, reason = "closing it lets the lock go")] OwnedFd);

impl RuntimeDir {
    /// Opens the first usable of `$SKIFF_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/skiff`, and
    /// `skiff-<uid>` in /dev/shm, /tmp and /var/tmp, and makes it if it is missing.
    ///
    /// # Errors
    /// When none can be used; says why for the last one tried.
    pub fn open() -> io::Result<Self> {
        if let Some(path) = std::env::var_os(RUNTIME_DIR_VARIABLE).filter(|path| !path.is_empty()) {
            return Self::open_at(Path::new(&path));
        }
        let own_name = format!("skiff-{}", rustix::process::geteuid().as_raw());
        let session = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .map(|path| path.join("skiff"));
        let shared =
            ["/dev/shm", "/tmp", "/var/tmp"].map(|parent| Path::new(parent).join(&own_name));
        let mut last = None;
        for path in session.into_iter().chain(shared) {
            match Self::open_at(&path) {
                Ok(directory) => return Ok(directory),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Opens or makes the directory `path`.
    ///
    /// # Errors
    /// When it cannot be made, or is not a directory that only this user can use.
    pub fn open_at(path: &Path) -> io::Result<Self> {
        for _ in 0..MAX_TRIES {
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(because(path, &error));
                }
                _ => {}
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            let directory = match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(because(path, &errno.into())),
            };
            let stat = rustix::fs::fstat(&directory)?;
            let own = stat.st_uid == rustix::process::geteuid().as_raw();
            if !own || stat.st_mode & 0o077 != 0 {
                let message = format!(
                    "{}: not a private directory of this user (it must be yours, mode 0700); \
                     name another one in {RUNTIME_DIR_VARIABLE}",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            return Ok(Self {
                path: path.to_path_buf(),
                directory,
            });
        }
        Err(because(path, &io::ErrorKind::NotFound.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other process starts or ends a holder here. `None` when the directory was
    /// removed meanwhile: open it again.
    ///
    /// # Errors
    /// What flock(2) reports.
    pub fn lock(&self) -> io::Result<Option<RuntimeDirLock>> {
        let own = rustix::fs::openat(
            &self.directory,
            ".",
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let own = match own {
            Ok(own) => own,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        loop {
            match rustix::fs::flock(&own, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let removed = rustix::fs::fstat(&own)?.st_nlink == 0;
        Ok((!removed).then_some(RuntimeDirLock(own)))
    }

    /// Removes the name `name`, and the directory itself when that leaves it empty. Works when
    /// something is mounted over the path.
    pub(crate) fn remove(&self, name: &str) {
        // Best effort: what is gone already needs no removing, and a directory still in use stays.
        let _gone = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        let _in_use = fs::metadata(&self.path)
            .ok()
            .filter(|found| {
                rustix::fs::fstat(&self.directory)
                    .is_ok_and(|own| own.st_ino == found.ino() && own.st_dev == found.dev())
            })
            .map(|_| fs::remove_dir(&self.path));
    }
}

fn because(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("runtime directory {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn refuses_what_others_can_use() {
        let parent = std::env::temp_dir().join(format!("skiff-rt-{}", std::process::id()));
        let directory = RuntimeDir::open_at(&parent).unwrap();
        assert!(directory.lock().unwrap().is_some());
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = RuntimeDir::open_at(&parent).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        fs::remove_dir(&parent).unwrap();
        assert!(directory.lock().unwrap().is_none(), "removed meanwhile");
    }
}
