//! Changing a file of the administrator's: whoever reads it meanwhile sees the old or the new one,
//! and of two who change it at once the second waits for the first.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

/// How often a file that was replaced while we waited for it is opened anew.
const MAX_TRIES: usize = 100;

/// A file that nobody else of those who ask changes.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    file: File,
}

impl Held {
    /// Opens the file for changing it; with `create`, makes an empty one where there is none.
    ///
    /// # Errors
    /// It is missing, or may not be written; links are refused.
    pub(crate) fn open(path: &Path, create: bool) -> io::Result<Self> {
        for _ in 0..MAX_TRIES {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(create)
                .mode(0o644)
                .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
                .open(path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            let own = file.metadata()?;
            // Whoever had it before us may have put another one in its place.
            let same = fs::symlink_metadata(path)
                .is_ok_and(|now| now.ino() == own.ino() && now.dev() == own.dev());
            if same {
                return Ok(Self {
                    path: path.to_owned(),
                    file,
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
        held.replace("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Held::open(&link, false).is_err());
        assert!(Held::open(&folder.path().join("none"), false).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
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
