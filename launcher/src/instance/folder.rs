//! Where records and logs of one user's instances on this host lie.
//!
//! Everything goes through descriptors of directories: the keeper of an instance stands in its
//! container, where paths mean something else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::proc::Proc;
use super::record::{Live, MAX_BYTES, Record, Verdict};
use super::{InstanceError, check_name};

/// One user's instances on this host.
#[derive(Debug)]
pub struct Folder {
    records: PathBuf,
    logs: PathBuf,
    owner: u32,
}

/// How often a directory that another process removed meanwhile is made anew.
const MAX_TRIES: usize = 100;

impl Folder {
    /// The instances kept below `base` (`~/.apptainer/instances`) of the user called `user`, whose
    /// number is `owner`. Nothing is made or looked at yet.
    pub fn new(base: &Path, user: &str, owner: u32) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .replace('/', "_");
        let below = |kind: &str| base.join(kind).join(&host).join(user);
        Self {
            records: below("app"),
            logs: below("logs"),
            owner,
        }
    }

    /// Where the two logs of the instance `name` are: output, errors.
    pub fn log_paths(&self, name: &str) -> (PathBuf, PathBuf) {
        let path = |end: &str| self.logs.join(format!("{name}.{end}"));
        (path("out"), path("err"))
    }

    /// Opens the two logs for appending; makes them where they are missing.
    pub(super) fn open_logs(&self, name: &str) -> Result<(File, File), InstanceError> {
        let directory = self.make(&self.logs)?;
        let open = |end: &str| {
            let flags = OFlags::RDWR
                | OFlags::CREATE
                | OFlags::APPEND
                | OFlags::NOFOLLOW
                | OFlags::NOCTTY
                | OFlags::NONBLOCK
                | OFlags::CLOEXEC;
            let file = format!("{name}.{end}");
            rustix::fs::openat(&directory, &file, flags, Mode::from_raw_mode(0o644))
                .map(File::from)
                .map_err(|errno| failed(&self.logs.join(file), errno.into()))
        };
        Ok((open("out")?, open("err")?))
    }

    /// Opens the log of errors for reading, with a position of its own.
    pub(super) fn read_errors(&self, name: &str) -> Result<File, InstanceError> {
        let directory = self.make(&self.logs)?;
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = format!("{name}.err");
        rustix::fs::openat(&directory, &file, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| failed(&self.logs.join(file), errno.into()))
    }

    /// The running instance `name`.
    ///
    /// # Errors
    /// There is none, or it may not be a name.
    pub fn find(&self, name: &str) -> Result<Live, InstanceError> {
        check_name(name)?;
        self.all(&|other| other == name)?
            .pop()
            .ok_or_else(|| InstanceError::NotFound {
                name: name.to_owned(),
            })
    }

    /// The running instances whose names are `wanted`, by name; each has a descriptor open. Records
    /// of those that have ended are removed on the way.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn all(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Live>, InstanceError> {
        let mut found = Vec::new();
        self.each(&mut |live| {
            if wanted(&live.record.name) {
                found.push(live);
            }
        })?;
        found.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        Ok(found)
    }

    /// As [`Folder::all`], only what is written down: for however many there are.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn records(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Record>, InstanceError> {
        let mut found = Vec::new();
        self.each(&mut |live| {
            if wanted(&live.record.name) {
                found.push(live.record);
            }
        })?;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn each(&self, take: &mut dyn FnMut(Live)) -> Result<(), InstanceError> {
        let Some(directory) = self.open(&self.records)? else {
            return Ok(());
        };
        let proc = Proc::open().map_err(|error| failed(Path::new("/proc"), error))?;
        for name in names(&directory).map_err(|error| failed(&self.records, error))? {
            let Ok(Some(place)) = self.place(&directory, &name, false) else {
                continue;
            };
            match place.judge(&proc) {
                Ok(Some(Verdict::Live(live))) if live.record.name == name => take(*live),
                // Only the owner tidies up; and while somebody starts an instance of this name, its
                // directory may well be empty. What cannot be read may well run.
                Ok(Some(Verdict::Stale) | None) if self.is_own() && place.try_lock() => {
                    // Looked at once more, now that nobody else writes it.
                    if matches!(place.judge(&proc), Ok(Some(Verdict::Stale) | None)) {
                        place.remove();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the name for a new instance: nobody else can while the answer lives.
    ///
    /// # Errors
    /// An instance of that name runs, or the directories cannot be made.
    pub(super) fn reserve(&self, name: &str) -> Result<Place, InstanceError> {
        match self.claim(name)? {
            (place, None) => Ok(place),
            _ => Err(InstanceError::Exists {
                name: name.to_owned(),
            }),
        }
    }

    /// As [`Folder::reserve`], and gives a running instance of that name instead of refusing.
    pub(super) fn claim(&self, name: &str) -> Result<(Place, Option<Live>), InstanceError> {
        check_name(name)?;
        let proc = Proc::open().map_err(|error| failed(Path::new("/proc"), error))?;
        for _ in 0..MAX_TRIES {
            let directory = self.make(&self.records)?;
            let Some(place) = self.place(&directory, name, true)? else {
                continue;
            };
            if !place.lock() {
                continue;
            }
            let path = self.records.join(name).join(place.file_name());
            return match place.judge(&proc) {
                Ok(Some(Verdict::Live(live))) => Ok((place, Some(*live))),
                Ok(Some(Verdict::Foreign)) => Err(InstanceError::Exists {
                    name: name.to_owned(),
                }),
                Ok(Some(Verdict::Elsewhere)) => Err(InstanceError::Elsewhere {
                    name: name.to_owned(),
                    path,
                }),
                Ok(Some(Verdict::Stale) | None) => Ok((place, None)),
                Ok(Some(Verdict::Unknown(error))) => Err(failed(&path, error)),
                Err(source) => Err(InstanceError::Unread { path, source }),
            };
        }
        Err(failed(
            &self.records.join(name),
            io::ErrorKind::NotFound.into(),
        ))
    }

    /// Takes the record of an instance that has ended away, if its keeper has not done so.
    pub(super) fn forget(&self, record: &Record) {
        if let Ok(Some(directory)) = self.open(&self.records)
            && let Ok(Some(place)) = self.place(&directory, &record.name, false)
        {
            place.remove_of(record.ppid);
        }
    }

    fn is_own(&self) -> bool {
        rustix::process::geteuid().as_raw() == self.owner
    }

    /// The directory of the instance `name` below `directory`.
    fn place(
        &self,
        directory: &OwnedFd,
        name: &str,
        make: bool,
    ) -> Result<Option<Place>, InstanceError> {
        let path = self.records.join(name);
        if make {
            match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(failed(&path, errno.into())),
            }
        }
        let own = match open_directory(directory, Path::new(name), self.owner) {
            Ok(own) => own,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        let parent = directory
            .try_clone()
            .map_err(|error| failed(&path, error))?;
        Ok(Some(Place {
            parent,
            own,
            name: name.to_owned(),
            owner: self.owner,
        }))
    }

    /// Opens `path`, if it is there.
    fn open(&self, path: &Path) -> Result<Option<OwnedFd>, InstanceError> {
        let directory = rustix::fs::openat(
            CWD,
            path.parent().unwrap_or(path),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let name = Path::new(path.file_name().unwrap_or_default());
        let opened = directory
            .map_err(io::Error::from)
            .and_then(|directory| open_directory(&directory, name, self.owner));
        match opened {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, error)),
        }
    }

    /// Opens `path`, made with all directories above it where it is missing.
    fn make(&self, path: &Path) -> Result<OwnedFd, InstanceError> {
        use std::os::unix::fs::DirBuilderExt as _;
        for _ in 0..MAX_TRIES {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| failed(path, error))?;
            if let Some(directory) = self.open(path)? {
                return Ok(directory);
            }
        }
        Err(failed(path, io::ErrorKind::NotFound.into()))
    }
}

/// The directory of one instance.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory above it.
    parent: OwnedFd,
    own: OwnedFd,
    name: String,
    owner: u32,
}

impl Place {
    fn file_name(&self) -> String {
        format!("{}.json", self.name)
    }

    /// What the record is worth; `None` where there is none.
    fn judge(&self, proc: &Proc) -> io::Result<Option<Verdict>> {
        let record = self.read()?;
        Ok(record.map(|record| record.judge(proc, self.owner)))
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// There is one and it cannot be read or believed: of an instance that runs or not.
    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        let file = match self.open_record() {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        if stat.st_uid != self.owner || stat.st_mode & 0o022 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "not a file that only its user can write to",
            ));
        }
        let mut text = String::new();
        File::from(file).take(MAX_BYTES).read_to_string(&mut text)?;
        if text.is_empty() {
            // What a crash of the machine leaves: a name without content.
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    fn open_record(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.own, self.file_name(), flags, Mode::empty())
    }

    /// Says that the instance is in use for as long as the answer lives; the caller has the lock.
    /// `None` where there are no locks.
    pub(super) fn hold(&self) -> Option<OwnedFd> {
        let record = self.open_record().ok()?;
        rustix::fs::flock(&record, FlockOperation::NonBlockingLockShared).ok()?;
        Some(record)
    }

    /// Whether somebody has [`Place::hold`].
    pub(super) fn is_held(&self) -> bool {
        self.open_record().is_ok_and(|record| {
            rustix::fs::flock(&record, FlockOperation::NonBlockingLockExclusive)
                == Err(Errno::WOULDBLOCK)
        })
    }

    /// Writes the record: whoever reads sees nothing or all of it.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        let temporary = format!(".{}.new", self.name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.own, &temporary, flags, mode)?;
        // Whatever the mask was: records that others may write are not believed.
        rustix::fs::fchmod(&file, mode)?;
        File::from(file).write_all(&text)?;
        rustix::fs::renameat(&self.own, &temporary, &self.own, self.file_name())?;
        Ok(())
    }

    /// Waits until nobody else starts or ends an instance of this name; `false` when the directory
    /// was removed meanwhile.
    pub(super) fn lock(&self) -> bool {
        // Some network file systems have no locks; everything else works there as well.
        while rustix::fs::flock(&self.own, FlockOperation::LockExclusive) == Err(Errno::INTR) {}
        rustix::fs::fstat(&self.own).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// As [`Place::lock`] without waiting, and only where there are locks.
    fn try_lock(&self) -> bool {
        rustix::fs::flock(&self.own, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Lets others start and end instances of this name.
    pub(super) fn unlock(&self) {
        // It ends with the descriptor at the latest.
        let _ends = rustix::fs::flock(&self.own, FlockOperation::Unlock);
    }

    /// Removes the record and the directory; the caller has the lock.
    pub(super) fn remove(&self) {
        for name in [self.file_name(), format!(".{}.new", self.name)] {
            // What is gone already needs no removing.
            let _gone = rustix::fs::unlinkat(&self.own, name, AtFlags::empty());
        }
        // A file that is not ours keeps the directory.
        let _kept = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }

    /// Removes them if the record is still that of the keeper with the number `keeper`.
    pub(super) fn remove_of(&self, keeper: i32) {
        if self.lock()
            && let Ok(record) = self.read()
            && record.is_none_or(|record| record.ppid == keeper)
        {
            self.remove();
        }
        self.unlock();
    }
}

/// Opens the directory `name` in `parent`, which nobody but `owner` (and root) can write to.
fn open_directory(parent: &OwnedFd, name: &Path, owner: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_uid != owner || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "not a directory that only its user can write to (it must be yours, mode 0700)",
        ));
    }
    Ok(directory)
}

/// Names of what is in `directory` and can be an instance.
fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && check_name(name).is_ok()
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn failed(path: &Path, source: io::Error) -> InstanceError {
    InstanceError::Folder {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let folder = Folder::new(base.path(), "me", owner);
        let place = folder.reserve("x").unwrap();
        // Nothing is held that is not there.
        assert!(place.hold().is_none() && !place.is_held());
        place.unlock();
        drop(place);
        let record = folder.records.join("x/x.json");
        std::fs::write(&record, "{\"of\": \"another version\"}").unwrap();
        assert!(folder.all(&|_| true).unwrap().is_empty());
        let refused = folder.reserve("x").unwrap_err();
        assert!(matches!(refused, InstanceError::Unread { .. }), "{refused}");
        assert!(record.exists());
        // What a crash leaves takes no name.
        std::fs::write(&record, "").unwrap();
        assert!(folder.all(&|_| true).unwrap().is_empty());
        assert!(!record.exists());
    }

    #[test]
    fn who_is_on_the_way_in_is_seen() {
        let base = tempfile::tempdir().unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let folder = Folder::new(base.path(), "me", owner);
        let place = folder.reserve("x").unwrap();
        std::fs::write(folder.records.join("x/x.json"), "").unwrap();
        assert!(!place.is_held());
        let one = place.hold().unwrap();
        let other = place.hold().unwrap();
        drop(one);
        assert!(place.is_held());
        drop(other);
        assert!(!place.is_held());
    }
}
