//! A cache directory: opening it, whom it belongs to, and the files in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::about::{About, BlobInfo, Record, State};
use super::blob::Blob;
use super::index::Index;
use super::key::BlobKey;
use super::limits::Limits;
use super::store::{Store, now_ms};
use super::usage::Ledger;

/// Longest `.about` file that is read.
const MAX_ABOUT_BYTES: u64 = 64 << 10;

/// A process that has not brought a single grain for this long is overtaken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files that are being written are beside their places for less than this.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);

pub(super) const BLOBS: &str = "blobs";
pub(super) const NOTES: &str = "notes";

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No place for one.
    #[error(
        "no directory for the cache: none of {tried} can be used; set SKIFF_CACHE_DIR to a \
         directory of yours on a local disk"
    )]
    NoPlace {
        /// What was looked at.
        tried: String,
    },
    /// The directory is not safe to use.
    #[error("cache directory {dir}: {reason}", dir = dir.display())]
    Unsafe {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Only its owner may change it.
    #[error("cache directory {dir} belongs to another user and can only be read", dir = dir.display())]
    ReadOnly {
        /// The directory.
        dir: PathBuf,
    },
    /// The system says no.
    #[error("cache {path}: {source}", path = path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// A cache directory; clones are the same one.
#[derive(Clone, Debug)]
pub struct Cache(pub(super) Arc<Directory>);

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    pub(super) writable: bool,
    /// Whose files in it are believed.
    owner: u32,
    /// All users may read: files get mode 0644 and not 0600.
    shared: bool,
    pub(super) limits: Limits,
    pub(super) ledger: Ledger,
    patience_ms: AtomicU64,
}

/// What the `.about` file of a blob says.
pub(super) enum Known {
    /// This.
    Record(Record),
    /// There is none, or none that could be ours.
    Nothing,
    /// It cannot be read now.
    Unknown,
}

impl Cache {
    /// Opens the cache in `dir`, which is made (for the caller alone) if it is missing. The owner
    /// writes; in another user's directory everybody else reads what they are let.
    ///
    /// # Errors
    /// [`CacheError`]: a symbolic link, a directory that others may write to, no permission.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, CacheError> {
        let io = |source: io::Error| CacheError::Io {
            path: dir.to_owned(),
            source,
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = match rustix::fs::open(dir, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                let mut builder = std::fs::DirBuilder::new();
                builder
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .map_err(io)?;
                rustix::fs::open(dir, flags, Mode::empty())
            }
            other => other,
        };
        let fd = fd.map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => CacheError::Unsafe {
                dir: dir.to_owned(),
                reason: "is not a directory itself (a symbolic link or a file)".to_owned(),
            },
            errno => io(errno.into()),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| io(errno.into()))?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            return Err(CacheError::Unsafe {
                dir: dir.to_owned(),
                reason: "other users can write to it, so its content cannot be trusted; \
                         chmod go-w it"
                    .to_owned(),
            });
        }
        let owned = stat.st_uid == rustix::process::geteuid().as_raw();
        let directory = Directory {
            path: dir.to_owned(),
            fd,
            writable: owned,
            owner: stat.st_uid,
            shared: mode.contains(Mode::ROTH | Mode::XOTH),
            limits,
            ledger: Ledger::default(),
            patience_ms: AtomicU64::new(millis(PATIENCE)),
        };
        if owned {
            // A file system that cannot be written is one that can be read.
            let _read_only = directory.make(BLOBS).and_then(|()| directory.make(NOTES));
        }
        Ok(Self(Arc::new(directory)))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0.path
    }

    /// Whether it is the caller's own. (Its disk may still be full.)
    pub fn is_writable(&self) -> bool {
        self.0.writable
    }

    /// For how long another process may fetch something wanted without bringing any of it, before
    /// it is fetched a second time; 20 seconds unless told.
    pub fn set_patience(&self, patience: Duration) {
        let patience = millis(patience);
        self.0.patience_ms.store(patience, Ordering::Relaxed);
    }

    /// Opens the blob `key`; the first to do so makes it.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn blob(&self, key: &BlobKey, about: &About) -> Result<Blob, CacheError> {
        if !self.0.writable {
            return self.find(key).ok_or_else(|| CacheError::ReadOnly {
                dir: self.0.path.clone(),
            });
        }
        let stem = key.stem();
        let (record, store) = self.0.provide(&stem, key, about)?;
        Ok(Blob::new(self.clone(), stem, record, store))
    }

    /// The blob `key` if anything of it was ever there.
    pub fn find(&self, key: &BlobKey) -> Option<Blob> {
        let stem = key.stem();
        let record = self.0.record(&stem)?;
        if record.key != key.as_str() {
            return None;
        }
        let store = self.0.store(&stem, key, record.size).ok()?;
        Some(Blob::new(self.clone(), stem, record, store))
    }

    /// All blobs, the last used first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<BlobInfo>, CacheError> {
        let mut list: Vec<BlobInfo> = self
            .0
            .stems()?
            .iter()
            .filter_map(|stem| self.info(stem))
            .collect();
        list.sort_by_key(|info| std::cmp::Reverse(info.last_use));
        Ok(list)
    }

    fn info(&self, stem: &str) -> Option<BlobInfo> {
        let record = self.0.record(stem)?;
        let key = BlobKey::new(record.key.clone());
        let blob = self.find(&key)?;
        Some(BlobInfo {
            cached_bytes: blob.cached_bytes(),
            last_use: blob.last_use().max(record.created),
            pinned: self.0.is_pinned(stem),
            state: record.state,
            created: record.created,
            about: record.about(),
            key,
        })
    }

    /// Keeps `key` from being evicted; `false` when there is no such blob.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn pin(&self, key: &BlobKey) -> Result<bool, CacheError> {
        self.0.check_writable()?;
        let stem = key.stem();
        if self.0.record(&stem).is_none() {
            return Ok(false);
        }
        self.0.replace(BLOBS, &format!("{stem}.pin"), b"")?;
        Ok(true)
    }

    /// Lets `key` be evicted again; `false` when it was not pinned.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn unpin(&self, key: &BlobKey) -> Result<bool, CacheError> {
        self.0.check_writable()?;
        self.0.delete(BLOBS, &format!("{}.pin", key.stem()))
    }

    /// Removes a blob, pinned or not; `false` when there is none. Whoever has it open goes on
    /// reading what no longer has a name.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn remove(&self, key: &BlobKey) -> Result<bool, CacheError> {
        self.0.check_writable()?;
        let stem = key.stem();
        let mut found = false;
        for extension in ["about", "pin", "index", "data"] {
            found |= self.0.delete(BLOBS, &format!("{stem}.{extension}"))?;
        }
        self.0.ledger.forget();
        Ok(found)
    }
}

impl Directory {
    fn io(&self, sub: &str, name: &str) -> impl Fn(Errno) -> CacheError {
        let path = self.path.join(sub).join(name);
        move |errno| CacheError::Io {
            path: path.clone(),
            source: errno.into(),
        }
    }

    /// The record and files of a blob, made if they are missing.
    pub(super) fn provide(
        &self,
        stem: &str,
        key: &BlobKey,
        about: &About,
    ) -> Result<(Record, Store), CacheError> {
        let record = match self.record(stem) {
            // A name may change its meaning, a key does not: what does not fit is left over from
            // damage.
            Some(record) if record.key == key.as_str() && record.size == about.size => record,
            _ => {
                let record = Record::new(key, about, now_ms());
                self.put_record(stem, &record)?;
                record
            }
        };
        match self.store(stem, key, about.size) {
            Ok(store) => Ok((record, store)),
            Err(source) => Err(CacheError::Io {
                path: self.path.join(BLOBS).join(stem),
                source,
            }),
        }
    }

    /// Whether the directory itself was removed: what is open remains usable, by this process.
    pub(super) fn is_nameless(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.load(Ordering::Relaxed))
    }

    fn make(&self, sub: &str) -> Result<(), CacheError> {
        let mode = if self.shared { 0o755 } else { 0o700 };
        match rustix::fs::mkdirat(&self.fd, sub, Mode::from_raw_mode(mode)) {
            // As made, less the umask.
            Ok(()) if self.shared => {
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::chmodat(&self.fd, sub, mode, AtFlags::empty()).map_err(self.io(sub, ""))
            }
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.io(sub, "")(errno)),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), CacheError> {
        if self.writable {
            return Ok(());
        }
        Err(CacheError::ReadOnly {
            dir: self.path.clone(),
        })
    }

    /// Opens `sub/name` itself, never what a link there points to, and only a regular file that
    /// belongs to the directory's owner and that nobody else can write.
    pub(super) fn open_file(&self, sub: &str, name: &str, flags: OFlags) -> Result<File, Errno> {
        let mode = Mode::from_raw_mode(if self.shared { 0o644 } else { 0o600 });
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let path = format!("{sub}/{name}");
        let file = rustix::fs::openat(&self.fd, &*path, flags, mode)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if stat.st_uid != self.owner || mode.intersects(Mode::WGRP | Mode::WOTH) {
            return Err(Errno::PERM);
        }
        // The umask of whoever fills a shared cache is no reason for others not to read it.
        if self.writable && self.shared && !mode.contains(Mode::RGRP | Mode::ROTH) {
            // A disk that cannot be written has nothing new on it.
            let _as_it_is = rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644));
        }
        Ok(file.into())
    }

    /// As [`Directory::open_file`]; in a directory of the caller's own what cannot be used (a link,
    /// a pipe, a directory, another's file) makes way for a new file.
    pub(super) fn open_own(&self, sub: &str, name: &str, flags: OFlags) -> Result<File, Errno> {
        let opened = self.open_file(sub, name, flags);
        match opened {
            Err(Errno::NOENT) if self.writable && sub == BLOBS => {
                self.make(BLOBS).map_err(|_| Errno::NOENT)?;
            }
            Err(errno) if self.writable && is_foreign(errno) => self.clear(sub, name),
            other => return other,
        }
        self.open_file(sub, name, flags)
    }

    /// Removes what should be a file and is something else.
    fn clear(&self, sub: &str, name: &str) {
        let path = format!("{sub}/{name}");
        for flags in [AtFlags::empty(), AtFlags::REMOVEDIR] {
            // What stays there is met again by whoever opens it.
            let _met_again = rustix::fs::unlinkat(&self.fd, &*path, flags);
        }
    }

    /// All of a small file.
    pub(super) fn read(&self, sub: &str, name: &str, limit: u64) -> Option<Vec<u8>> {
        let file = self.open_file(sub, name, OFlags::RDONLY).ok()?;
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Writes a small file beside its place and moves it there.
    pub(super) fn replace(&self, sub: &str, name: &str, content: &[u8]) -> Result<(), CacheError> {
        let failed = self.io(sub, name);
        let (beside, mut file) = self.beside(sub, name).map_err(&failed)?;
        let full = |name: &str| format!("{sub}/{name}");
        let written = file
            .write_all(content)
            .map_err(|error| CacheError::Io {
                path: self.path.join(sub).join(name),
                source: error,
            })
            .and_then(|()| {
                let rename = || rustix::fs::renameat(&self.fd, full(&beside), &self.fd, full(name));
                rename()
                    .or_else(|errno| {
                        if !is_foreign(errno) {
                            return Err(errno);
                        }
                        self.clear(sub, name);
                        rename()
                    })
                    .map_err(failed)
            });
        if written.is_err() {
            let _leftover = self.delete(sub, &beside);
        }
        written
    }

    /// A new file for the next content of `name`. Other threads, and processes of other process
    /// namespaces, may be about the same.
    fn beside(&self, sub: &str, name: &str) -> Result<(String, File), Errno> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let beside = format!(".{name}.{}.{}.{count}", std::process::id(), now_ms());
            match self.open_own(sub, &beside, flags) {
                Err(Errno::EXIST) => {}
                opened => return opened.map(|file| (beside, file)),
            }
        }
    }

    pub(super) fn delete(&self, sub: &str, name: &str) -> Result<bool, CacheError> {
        match rustix::fs::unlinkat(&self.fd, format!("{sub}/{name}"), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.io(sub, name)(errno)),
        }
    }

    pub(super) fn is_pinned(&self, stem: &str) -> bool {
        // When it cannot be said, it is.
        let path = format!("{BLOBS}/{stem}.pin");
        let stat = rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW);
        !matches!(stat, Err(Errno::NOENT))
    }

    pub(super) fn record(&self, stem: &str) -> Option<Record> {
        match self.known(stem) {
            Known::Record(record) => Some(record),
            Known::Nothing | Known::Unknown => None,
        }
    }

    pub(super) fn known(&self, stem: &str) -> Known {
        let file = match self.open_file(BLOBS, &format!("{stem}.about"), OFlags::RDONLY) {
            Ok(file) => file,
            Err(errno) if errno == Errno::NOENT || is_foreign(errno) => return Known::Nothing,
            Err(_) => return Known::Unknown,
        };
        let mut content = Vec::new();
        if file
            .take(MAX_ABOUT_BYTES)
            .read_to_end(&mut content)
            .is_err()
        {
            return Known::Unknown;
        }
        match serde_json::from_slice::<Record>(&content) {
            Ok(record)
                if BlobKey::new(&*record.key).stem() == stem
                    && i64::try_from(record.size).is_ok() =>
            {
                Known::Record(record)
            }
            _ => Known::Nothing,
        }
    }

    pub(super) fn put_record(&self, stem: &str, record: &Record) -> Result<(), CacheError> {
        let content = serde_json::to_vec(record).unwrap_or_default();
        self.replace(BLOBS, &format!("{stem}.about"), &content)
    }

    pub(super) fn set_state(&self, stem: &str, state: State) {
        if let Some(mut record) = self.record(stem).filter(|_| self.writable) {
            record.state = state;
            // It will be found out again.
            let _again = self.put_record(stem, &record);
        }
    }

    /// The files of a blob.
    pub(super) fn store(&self, stem: &str, key: &BlobKey, size: u64) -> io::Result<Store> {
        let flags = if self.writable {
            OFlags::RDWR | OFlags::CREATE
        } else {
            OFlags::RDONLY
        };
        let digest = key.digest();
        let open =
            |extension: &str, flags| self.open_own(BLOBS, &format!("{stem}.{extension}"), flags);
        let (index, data, writable) = match (open("index", flags), open("data", flags)) {
            (Ok(index), Ok(data)) => (index, data, self.writable),
            // A disk that was made read-only can still be read.
            (Err(Errno::ROFS), _) | (_, Err(Errno::ROFS)) => (
                open("index", OFlags::RDONLY)?,
                open("data", OFlags::RDONLY)?,
                false,
            ),
            (Err(errno), _) | (_, Err(errno)) => return Err(errno.into()),
        };
        let index = Index::open(index, &data, &digest, size, writable)?;
        Ok(Store::new(data, index, &digest, size, writable))
    }

    /// Names of the files of all blobs.
    fn names(&self) -> Result<Vec<String>, CacheError> {
        let failed = self.io(BLOBS, "");
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = match rustix::fs::openat(&self.fd, BLOBS, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            other => other.map_err(&failed)?,
        };
        Dir::new(fd)
            .map_err(&failed)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .filter(|name| !matches!(name.as_deref(), Ok("." | "..")))
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    /// Bytes that the blobs' files take on the disk.
    pub(super) fn measure(&self) -> Result<u64, CacheError> {
        let stat = |name: &String| {
            let path = format!("{BLOBS}/{name}");
            rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW).ok()
        };
        // Files that vanish meanwhile take nothing.
        let names = self.names()?;
        let blocks = names
            .iter()
            .filter_map(stat)
            .filter_map(|stat| u64::try_from(stat.st_blocks).ok());
        Ok(blocks.sum::<u64>().saturating_mul(512))
    }

    /// Names of all blobs, without extension.
    pub(super) fn stems(&self) -> Result<Vec<String>, CacheError> {
        let names = self.names()?;
        let stems = names.iter().filter_map(|name| match stem_of(name)? {
            (stem, "about") => Some(stem.to_owned()),
            _ => None,
        });
        Ok(stems.collect())
    }

    /// Removes files that belong to no blob: left by processes that were killed, or by damage.
    pub(super) fn remove_strays(&self) -> Result<(), CacheError> {
        for name in self.names()? {
            let is_stray = match stem_of(&name) {
                Some((stem, _)) => matches!(self.known(stem), Known::Nothing),
                None => self.is_unfinished(&name),
            };
            if is_stray {
                self.clear(BLOBS, &name);
            }
        }
        Ok(())
    }

    /// Whether it is a file that was to be moved to its place and never was.
    fn is_unfinished(&self, name: &str) -> bool {
        let path = format!("{BLOBS}/{name}");
        let age = rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|stat| u64::try_from(stat.st_mtime).ok())
            .and_then(|seconds| {
                let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
                SystemTime::now().duration_since(since).ok()
            });
        name.starts_with('.') && age.is_some_and(|age| age > UNFINISHED_FOR)
    }
}

/// Stem and extension of the file of a blob.
fn stem_of(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.split_once('.')?;
    let is_digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_ours = matches!(extension, "about" | "data" | "index" | "pin");
    (is_digest && is_ours).then_some((stem, extension))
}

/// Whether something that is no file of ours is in the way.
fn is_foreign(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ISDIR
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::INVAL
            | Errno::PERM
            | Errno::ACCESS
            | Errno::NXIO
            | Errno::NOTEMPTY
            | Errno::EXIST
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
