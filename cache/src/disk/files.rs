//! The files of a cache directory: opened by their own names only, believed only when they are the
//! owner's, replaced whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::about::{About, Record, State};
use super::directory::{BLOBS, CacheError, Directory, Known};
use super::index::Index;
use super::key::BlobKey;
use super::store::{Store, now_ms};

/// Longest `.about` file that is read.
const MAX_ABOUT_BYTES: u64 = 64 << 10;

/// Files that are being written are beside their places for less than this.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);

impl Directory {
    pub(super) fn io(&self, sub: &str, name: &str) -> impl Fn(Errno) -> CacheError {
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

    pub(super) fn make(&self, sub: &str) -> Result<(), CacheError> {
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
    pub(super) fn clear(&self, sub: &str, name: &str) {
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
    pub(super) fn beside(&self, sub: &str, name: &str) -> Result<(String, File), Errno> {
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
    pub(super) fn names(&self) -> Result<Vec<String>, CacheError> {
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
    pub(super) fn is_unfinished(&self, name: &str) -> bool {
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
pub(super) fn stem_of(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.split_once('.')?;
    let is_digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_ours = matches!(extension, "about" | "data" | "index" | "pin");
    (is_digest && is_ours).then_some((stem, extension))
}

/// Whether something that is no file of ours is in the way.
pub(super) fn is_foreign(errno: Errno) -> bool {
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

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
