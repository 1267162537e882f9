//! The directory that a build works in, which nothing but the build needs.
//!
//! A file in it is locked for as long as any process of the build lives. A directory whose file
//! nobody locks is what a killed build has left, and the next build of the user removes it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Beginning of all names.
const PREFIX: &str = "build-temp-";

/// The locked file; until it has this name, its directory is being made.
const LOCK: &str = "skiff.lock";

/// A build's directory.
#[derive(Debug)]
pub(super) struct Bundle {
    path: PathBuf,
    _lock: File,
}

impl Bundle {
    /// Makes one in `parent`.
    ///
    /// # Errors
    /// The file system's refusal.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        for _ in 0..1000 {
            let mut random = [0; 8];
            getrandom(&mut random)?;
            let path = parent.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            let new = path.join("lock.new");
            let lock = File::create_new(&new)?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            fs::rename(&new, path.join(LOCK))?;
            return Ok(Self { path, _lock: lock });
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what it holds, with the rights of the calling process.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }
}

fn getrandom(buffer: &mut [u8]) -> io::Result<()> {
    let flags = rustix::rand::GetRandomFlags::empty();
    let length = rustix::rand::getrandom(&mut *buffer, flags)?;
    if length == buffer.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Removes the lock last: what is left of a removal that did not come to its end is found again.
fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(path)
}

/// Removes what killed builds of this user have left in `parent`. Called with the rights of a
/// build's root, whom all of it belongs to.
pub(super) fn sweep(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        let is_own = fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir() && it.uid() == own);
        if is_own && is_left_behind(&path) {
            // Whatever it is that cannot be removed is no matter of this build's.
            let _left = remove(&path);
        }
    }
}

fn is_left_behind(bundle: &Path) -> bool {
    // Open for writing: NFS makes of the lock one that needs it.
    let flags = rustix::fs::OFlags::RDWR
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::NONBLOCK
        | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(bundle.join(LOCK), flags, rustix::fs::Mode::empty()).is_ok_and(|lock| {
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

/// Where builds have their directories: `--tmpdir`, `APPTAINER_TMPDIR`, `TMPDIR`, or /tmp.
pub(super) fn temporary_directory(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> PathBuf {
    given
        .map(Path::to_owned)
        .or_else(|| variable("APPTAINER_TMPDIR"))
        .or_else(|| variable("SINGULARITY_TMPDIR"))
        .or_else(|| variable("TMPDIR"))
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Bundle::make(parent.path()).unwrap();
        let dead = Bundle::make(parent.path()).unwrap();
        let left = dead.path().to_owned();
        fs::create_dir(left.join("x")).unwrap();
        drop(dead);
        let foreign = parent.path().join("build-temp-1234");
        fs::create_dir(&foreign).unwrap();
        sweep(parent.path());
        assert!(alive.path().is_dir());
        assert!(foreign.is_dir(), "of another program");
        assert!(!left.exists());
        alive.remove().unwrap();
        assert!(!alive.path().exists());
    }

    #[test]
    fn places() {
        let none = |_: &str| None;
        assert_eq!(temporary_directory(None, none), Path::new("/tmp"));
        let all = |name: &str| Some(PathBuf::from(name));
        assert_eq!(
            temporary_directory(None, all),
            Path::new("APPTAINER_TMPDIR")
        );
        assert_eq!(
            temporary_directory(Some(Path::new("/x")), all),
            Path::new("/x")
        );
    }
}
