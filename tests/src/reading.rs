//! Ways of reading a tree that a plain walk does not cover: at random places from several threads,
//! and through memory mappings; each compared with a second view of the same tree.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::Mapping;

/// A small generator, so that a failure can be had again (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit` (0 for 0).
    pub const fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 {
            0
        } else {
            (self.next() >> 11) % limit
        }
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// The regular files below `root` that this user may read, relative to it.
///
/// # Errors
/// When a directory cannot be listed.
pub fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(root.join(&folder)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let below = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(below);
            } else if kind.is_file() && File::open(entry.path()).is_ok() {
                found.push(below);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads `rounds` ranges from each of `threads` threads at random places of random files below
/// `seen` and compares them with `wanted`. Returns the number of bytes compared.
///
/// # Errors
/// The first difference or failure.
pub fn random_reads(wanted: &Path, seen: &Path, threads: u64, rounds: u64) -> io::Result<u64> {
    let files: Vec<_> = files(wanted)?
        .into_iter()
        .filter(|file| {
            wanted
                .join(file)
                .metadata()
                .is_ok_and(|meta| meta.len() > 0)
        })
        .collect();
    let total = std::sync::atomic::AtomicU64::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (files, total, failures) = (&files, &total, &failures);
            scope.spawn(move || {
                let mut random = Random::new(thread + 1);
                for _ in 0..rounds {
                    let pick = random.below(files.len() as u64);
                    let file = &files[usize::try_from(pick).unwrap_or(0)];
                    match compare_range(&wanted.join(file), &seen.join(file), &mut random) {
                        Ok(read) => {
                            total.fetch_add(read, std::sync::atomic::Ordering::Relaxed);
                        }
                        Err(error) => {
                            let text = format!("{}: {error}", file.display());
                            if let Ok(mut failures) = failures.lock() {
                                failures.push(text);
                            }
                            return;
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    match failures.first() {
        Some(first) => Err(io::Error::other(first.clone())),
        None => Ok(total.into_inner()),
    }
}

fn compare_range(wanted: &Path, seen: &Path, random: &mut Random) -> io::Result<u64> {
    let (wanted, seen) = (File::open(wanted)?, File::open(seen)?);
    let size = wanted.metadata()?.len();
    // Often small, sometimes across several blocks, now and then past the end.
    let limit = [200, 5_000, 300_000, 2_500_000][usize::try_from(random.below(4)).unwrap_or(0)];
    let len = usize::try_from(random.below(limit) + 1).map_err(io::Error::other)?;
    let offset = random.below(size + 10);
    let (one, other) = (read_at(&wanted, offset, len)?, read_at(&seen, offset, len)?);
    if one == other {
        Ok(one.len() as u64)
    } else {
        let place = one.iter().zip(&other).position(|(a, b)| a != b);
        Err(io::Error::other(format!(
            "{len} bytes at {offset} of {size}: {} and {} bytes, first difference at {place:?}",
            one.len(),
            other.len()
        )))
    }
}

fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Maps every file of both views and compares them page by page in random order. Returns the number
/// of files.
///
/// # Errors
/// The first difference or failure; a page that cannot be had kills the process by SIGBUS.
pub fn mapped_reads(wanted: &Path, seen: &Path) -> io::Result<u64> {
    let mut random = Random::new(77);
    let mut count = 0;
    for file in files(wanted)? {
        let (one, other) = (
            File::open(wanted.join(&file))?,
            File::open(seen.join(&file))?,
        );
        if one.metadata()?.len() == 0 {
            continue;
        }
        let (one, other) = (Mapping::of(&one)?, Mapping::of(&other)?);
        let pages = one.bytes().len().div_ceil(4096) as u64;
        // A stride that shares no factor with the count visits every page once.
        let mut stride = random.below(pages) | 1;
        while gcd(stride, pages) != 1 {
            stride += 1;
        }
        for step in 0..pages {
            let page = usize::try_from(step * stride % pages).map_err(io::Error::other)?;
            let range = page * 4096..((page + 1) * 4096).min(one.bytes().len());
            if one.bytes().get(range.clone()) != other.bytes().get(range) {
                let text = format!("{}: page {page} differs", file.display());
                return Err(io::Error::other(text));
            }
        }
        count += 1;
    }
    Ok(count)
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
