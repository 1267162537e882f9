//! A cache directory: opening it, whom it belongs to, and its blobs.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::about::{About, BlobInfo, Record};
use super::blob::Blob;
use super::files::millis;
use super::key::BlobKey;
use super::limits::Limits;
use super::usage::Ledger;

/// A process that has not brought a single grain for this long is overtaken.
const PATIENCE: Duration = Duration::from_secs(20);

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
    pub(super) owner: u32,
    /// All users may read: files get mode 0644 and not 0600.
    pub(super) shared: bool,
    pub(super) limits: Limits,
    pub(super) ledger: Ledger,
    pub(super) patience_ms: AtomicU64,
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
