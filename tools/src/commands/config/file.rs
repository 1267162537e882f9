//! Changing a file of the administrator's: whoever reads it meanwhile sees the old or the new one,
//! and of two who change it at once the second waits for the first.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

/// How often a file that was replaced while we waited for it is opened anew.
const MAX_TRIES: usize = 100;

/// How long somebody else may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked whether they have done.
const STEP: Duration = Duration::from_millis(20);

/// A file that nobody else of those who ask changes.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    file: File,
    /// A file of its own is locked: whoever may read the file itself could keep it locked for ever.
    _lock: Option<Lock>,
}

/// A lock on a file beside another, which goes with it.
#[derive(Debug)]
struct Lock {
    _file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever waits for it sees that it is gone, and makes a new one. Left over, it
        // is only an empty file.
        fs::remove_file(&self.path).ok();
    }
}

impl Held {
    /// Opens the file for changing it; with `create`, makes an empty one where there is none.
    ///
    /// # Errors
    /// It is missing, or may not be written, or others do not let go of it; links are refused.
    pub(crate) fn open(path: &Path, create: bool) -> io::Result<Self> {
        Self::open_within(path, create, PATIENCE)
    }

    fn open_within(path: &Path, create: bool, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        // No lock is left beside what is not there.
        if !create {
            fs::symlink_metadata(path)?;
        }
        let lock = lock_beside(path, until)?;
        for _ in 0..MAX_TRIES {
            let file = open(path, 0o644, create)?;
            if lock.is_none() {
                take(&file, path, until)?;
            }
            // Whoever had it before us may have put another one in its place.
            if is_at(&file, path) {
                return Ok(Self {
                    path: path.to_owned(),
                    file,
                    _lock: lock,
                });
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Its text.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub(crate) fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        (&self.file).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Puts `text` in its place, with the same owner and permissions.
    ///
    /// # Errors
    /// The new one cannot be written.
    pub(crate) fn replace(self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut fresh = match tempfile::NamedTempFile::new_in(folder) {
            Ok(fresh) => fresh,
            // Somebody who owns the file but not its folder.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.overwrite(text);
            }
            Err(error) => return Err(error),
        };
        let old = self.file.metadata()?;
        fresh.write_all(text.as_bytes())?;
        chown(fresh.path(), Some(old.uid()), Some(old.gid()))?;
        let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
        fresh.as_file().set_permissions(mode)?;
        fresh.as_file().sync_all()?;
        match fresh.persist(&self.path) {
            Ok(_) => Ok(()),
            // A file that something is mounted on cannot be replaced by another.
            Err(error) if error.error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                self.overwrite(text)
            }
            Err(error) => Err(error.error),
        }
    }

    fn overwrite(mut self, text: &str) -> io::Result<()> {
        use std::io::Seek;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }
}

fn open(path: &Path, mode: u32, create: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .mode(mode)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
}

/// Locks the file beside `path` that only its owner can open, by `until`. `None` for those who own
/// the file but not its folder.
fn lock_beside(path: &Path, until: Instant) -> io::Result<Option<Lock>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.skiff-lock"));
    loop {
        let file = match open(&beside, 0o600, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        };
        // One that was made by hand may be open to all.
        if file.metadata()?.mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        take(&file, &beside, until)?;
        // Whoever had it before us has removed it.
        if is_at(&file, &beside) {
            return Ok(Some(Lock {
                _file: file,
                path: beside,
            }));
        }
    }
}

/// Locks `file`, which is at `path`, by `until`.
fn take(file: &File, path: &Path, until: Instant) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {
                std::thread::sleep(STEP);
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("another process keeps {} locked", path.display()),
                ));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|own| {
        fs::symlink_metadata(path).is_ok_and(|now| now.ino() == own.ino() && now.dev() == own.dev())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_keeps_permissions_and_refuses_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let held = Held::open(&path, false).unwrap();
        assert_eq!(held.text().unwrap(), "old");
        let lock = folder.path().join(".f.skiff-lock");
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        held.replace("new").unwrap();
        assert!(!lock.exists());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Held::open(&link, false).is_err());
        assert!(Held::open(&folder.path().join("none"), false).is_err());
        assert!(!folder.path().join(".none.skiff-lock").exists());
    }

    #[test]
    fn locks_of_readers_keep_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "old").unwrap();
        let reader = File::open(&path).unwrap();
        rustix::fs::flock(&reader, FlockOperation::LockExclusive).unwrap();
        let held = Held::open(&path, false).unwrap();
        let error = Held::open_within(&path, false, Duration::ZERO).unwrap_err();
        assert!(
            error.to_string().contains(".f.skiff-lock locked"),
            "{error}"
        );
        held.replace("new").unwrap();
        Held::open_within(&path, false, Duration::ZERO).unwrap();
    }

    #[test]
    fn two_at_once_do_not_lose_what_the_other_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let held = Held::open(&path, true).unwrap();
                        let text = held.text().unwrap();
                        held.replace(&format!("{text}x")).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap().len(), 100);
    }
}
