//! Files that appear under their name when they are complete, or not at all.
//!
//! Where the file system has files without a name (`O_TMPFILE`), nothing is left of one whose
//! writer is killed. Elsewhere the file is beside its place as `.NAME.skiff-new-…`, locked as long
//! as someone writes it; those that nobody has locked are removed by the next who writes there.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Behind the name, of which this many bytes are kept.
const MARK: &str = ".skiff-new-";
const NAME_KEPT: usize = 200;

/// Names are random: more tries mean that something else is wrong.
const TRIES: usize = 16;

/// What happens to a file that has the name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replace {
    /// It stays, and the new one is given up.
    No,
    /// It is replaced at once.
    Yes,
}

/// A file on its way to its place. Dropped, it is gone.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    file: File,
    /// The name it has meanwhile, if any.
    temporary: Option<PathBuf>,
}

impl Target {
    /// A new file, open for reading and writing, that is going to be at `path`, with permissions
    /// `mode` less the process's umask.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match rustix::fs::open(directory_of(path), flags | OFlags::TMPFILE, mode) {
            Ok(file) => {
                mask(&file, mode)?;
                Ok(Self {
                    path: path.to_owned(),
                    file: file.into(),
                    temporary: None,
                })
            }
            // Kernels and file systems without O_TMPFILE say one of these.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                Self::named(path, mode)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn named(path: &Path, mode: Mode) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
        for _ in 0..TRIES {
            let temporary = temporary_name(path)?;
            let file: File = match rustix::fs::open(&temporary, flags, mode) {
                Ok(file) => file.into(),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            let target = Self {
                path: path.to_owned(),
                file,
                temporary: Some(temporary),
            };
            lock(&target.file);
            // Someone may have taken it for a stale one before it was locked.
            if target.file.metadata()?.nlink() > 0 {
                return Ok(target);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where it must not replace another; what the system
    /// reports.
    pub fn commit(mut self, replace: Replace) -> io::Result<()> {
        match (replace, self.temporary.take()) {
            (Replace::No, None) => self.link(&self.path),
            (Replace::No, Some(temporary)) => {
                let linked = fs::hard_link(&temporary, &self.path);
                let linked = match linked {
                    // File systems without hard links can say this as well.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        rename_new(&temporary, &self.path)
                    }
                    linked => linked,
                };
                // Without the name it is gone, or it has been renamed.
                fs::remove_file(&temporary).unwrap_or_default();
                linked
            }
            (Replace::Yes, temporary) => {
                let temporary = match temporary {
                    Some(temporary) => temporary,
                    None => self.link_temporary()?,
                };
                let renamed = fs::rename(&temporary, &self.path);
                self.temporary = renamed.is_err().then_some(temporary);
                renamed
            }
        }
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let opened = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, opened, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }

    fn link_temporary(&self) -> io::Result<PathBuf> {
        lock(&self.file);
        for _ in 0..TRIES {
            let temporary = temporary_name(&self.path)?;
            match self.link(&temporary) {
                Ok(()) => return Ok(temporary),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What cannot be removed now, the next who writes here removes.
            fs::remove_file(temporary).unwrap_or_default();
        }
    }
}

/// Takes the umask's bits from a file without a name: Linux before 6.0 forgets that on file systems
/// without access control lists.
fn mask(file: &OwnedFd, mode: Mode) -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok())
        .unwrap_or(0);
    let has = Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    let forbidden = has & mode & Mode::from_raw_mode(umask);
    if !forbidden.is_empty() {
        rustix::fs::fchmod(file, has & !Mode::from_raw_mode(umask))?;
    }
    Ok(())
}

/// Locks a file that nobody else knows; file systems without locks are left without.
fn lock(file: &File) {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).unwrap_or_default();
}

/// Renames unless `to` is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE)?;
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// What the temporary names for `path` start with.
fn prefix(path: &Path) -> OsString {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let kept = name.get(..NAME_KEPT).unwrap_or(name);
    OsString::from_vec([b".", kept, MARK.as_bytes()].concat())
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let mut name = prefix(path);
    name.push(format!("{:016x}", u64::from_le_bytes(random)));
    Ok(directory_of(path).join(name))
}

/// Removes what killed writers have left. Where this fails, nothing is lost but space.
fn remove_stale(path: &Path) {
    let prefix = prefix(path);
    let is_one = |name: &OsStr| name.as_bytes().starts_with(prefix.as_bytes());
    let Ok(entries) = fs::read_dir(directory_of(path)) else {
        return;
    };
    for entry in entries.flatten() {
        if is_one(&entry.file_name()) {
            remove_if_unused(&entry.path()).unwrap_or_default();
        }
    }
}

fn remove_if_unused(path: &Path) -> io::Result<()> {
    // Open for writing: NFS makes of the lock one that needs it.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_file(path)
}

/// Gives the directory `made` the name `target`, on the same file system; where what was there is
/// now, if anything was. Until the one has the name the other has it.
///
/// # Errors
/// What the system reports; nothing has changed then.
pub fn put_directory(made: &Path, target: &Path) -> io::Result<Option<PathBuf>> {
    let rename = |flags| rustix::fs::renameat_with(CWD, made, CWD, target, flags);
    match rename(RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => match rename(RenameFlags::EXCHANGE) {
            Ok(()) => Ok(Some(made.to_owned())),
            Err(Errno::INVAL) => put_plainly(made, target),
            Err(error) => Err(error.into()),
        },
        // File systems without flags, such as NFS.
        Err(Errno::INVAL) => put_plainly(made, target),
        other => Ok(other.map(|()| None)?),
    }
}

fn put_plainly(made: &Path, target: &Path) -> io::Result<Option<PathBuf>> {
    let aside = made.with_extension("old");
    let old = match fs::rename(target, &aside) {
        Ok(()) => Some(aside),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Err(error) = fs::rename(made, target) {
        if let Some(old) = old {
            fs::rename(old, target)?;
        }
        return Err(error);
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustix::fs::Mode;

    use super::{Replace, Target, lock, put_directory, put_plainly, temporary_name};

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// With and without a name meanwhile.
    fn create(path: &Path, named: bool) -> Target {
        let target = if named {
            Target::named(path, Mode::from_raw_mode(0o755))
        } else {
            Target::create(path, 0o755)
        };
        let target = target.unwrap();
        target.file().write_all(b"new").unwrap();
        target
    }

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        for named in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("image.sif");
            drop(create(&path, named));
            assert_eq!(names(directory.path()), [""; 0]);
            create(&path, named).commit(Replace::No).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o700, 0o700);
            fs::write(&path, "old").unwrap();
            let refused = create(&path, named).commit(Replace::No).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"old");
            create(&path, named).commit(Replace::Yes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(names(directory.path()), ["image.sif"]);
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.sif");
        let stale = temporary_name(&path).unwrap();
        let busy = temporary_name(&path).unwrap();
        fs::write(&stale, "").unwrap();
        let held = File::create(&busy).unwrap();
        lock(&held);
        fs::write(directory.path().join(".other.sif.skiff-new-1"), "").unwrap();
        create(&path, false).commit(Replace::Yes).unwrap();
        assert!(!stale.exists());
        assert!(busy.exists());
        assert_eq!(names(directory.path()).len(), 3);
    }

    #[test]
    fn directories_change_places() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for put in [put_directory, put_plainly] {
            fs::create_dir_all(at("made/new")).unwrap();
            assert_eq!(put(&at("made"), &at("target")).unwrap(), None);
            fs::create_dir_all(at("made/newer")).unwrap();
            let old = put(&at("made"), &at("target")).unwrap().unwrap();
            assert!(at("target/newer").is_dir() && old.join("new").is_dir());
            fs::remove_dir_all(old).unwrap();
            fs::remove_dir_all(at("target")).unwrap();
            // A file gives way, too; what is not there does nothing.
            fs::write(at("target"), "old").unwrap();
            assert!(put(&at("made"), &at("target")).is_err());
            assert_eq!(fs::read(at("target")).unwrap(), b"old");
            fs::create_dir(at("made")).unwrap();
            let old = put(&at("made"), &at("target")).unwrap().unwrap();
            assert_eq!(fs::read(&old).unwrap(), b"old");
            fs::remove_file(old).unwrap();
            fs::remove_dir(at("target")).unwrap();
        }
    }

    #[test]
    fn where_nothing_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let error = Target::create(&directory.path().join("none/image"), 0o755).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let path = directory.path().join("directory");
        fs::create_dir(&path).unwrap();
        assert!(create(&path, false).commit(Replace::Yes).is_err());
        assert_eq!(names(directory.path()), ["directory"]);
    }
}
