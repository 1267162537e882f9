//! Small facts that processes leave each other: what a tag stood for, how something was verified.
//!
//! A note repeats its key and carries a checksum, so that a torn or foreign file is no note.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use xxhash_rust::xxh3::xxh3_64;

use super::directory::{Cache, CacheError, NOTES};
use super::key::{digest, hex};

const MAX_NOTE_BYTES: u64 = 1 << 20;

/// The lock on a note; given back on drop, or when the process ends.
#[derive(Debug)]
pub struct NoteLock {
    _file: File,
}

impl Cache {
    /// The note of this kind under `key`.
    pub fn note(&self, kind: &str, key: &str) -> Option<Vec<u8>> {
        let content = self.0.read(NOTES, &name(kind, key), MAX_NOTE_BYTES)?;
        let (sum, rest) = content.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*sum) != xxh3_64(rest) {
            return None;
        }
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (found, value) = rest.split_at_checked(len)?;
        (found == key.as_bytes()).then(|| value.to_vec())
    }

    /// Leaves a note in place of the one before.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn put_note(&self, kind: &str, key: &str, value: &[u8]) -> Result<(), CacheError> {
        self.0.check_writable()?;
        let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let rest = [&len.to_le_bytes(), key.as_bytes(), value].concat();
        let content = [&xxh3_64(&rest).to_le_bytes(), &rest[..]].concat();
        self.0.replace(NOTES, &name(kind, key), &content)
    }

    /// Takes the lock that goes with a note, against all threads and processes; `None` when that
    /// takes longer than `patience` or there can be no lock.
    pub fn lock_note(&self, kind: &str, key: &str, patience: Duration) -> Option<NoteLock> {
        let name = format!("{}.lock", name(kind, key));
        let file = self
            .0
            .open_file(NOTES, &name, OFlags::RDWR | OFlags::CREATE)
            .ok()?;
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if start.elapsed() > patience {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Some(NoteLock { _file: file })
    }
}

/// File name of a note; `kind` is a word of ours.
fn name(kind: &str, key: &str) -> String {
    format!("{kind}.{}", hex(&digest(key.as_bytes())))
}
