//! `/etc/ld.so.cache`: which library is where, as the host's loader knows it.
//!
//! ```text
//! old   "ld.so-1.7.0" count  entries{flags, name, path}            strings
//! new   "glibc-ld.so.cache1.1" count length … entries{flags, name, path, …} … strings
//! ```
//! Files made for both have the old table first and the new one behind it. All numbers are checked:
//! the file may be anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Largest cache that is read.
pub const MAX_CACHE: u64 = 64 << 20;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// Longest name or path.
const MAX_STRING: usize = 4096;

/// Flags of libraries that programs of this machine's main architecture can load; 0 where this is
/// not known and only the library itself tells.
const OWN_FLAGS: u32 = if cfg!(target_arch = "x86_64") {
    0x0303
} else if cfg!(target_arch = "aarch64") {
    0x0a03
} else {
    0
};

/// One library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Name that programs ask for.
    pub name: &'a OsStr,
    /// Absolute path.
    pub path: &'a Path,
}

/// The libraries in `cache` that this machine's programs can load, in the loader's order. What is
/// out of bounds is left out; a file that is no cache has none.
pub fn entries(cache: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let table = Table::find(cache);
    let count = table.as_ref().map_or(0, |table| table.count);
    (0..count).filter_map(move |index| table.as_ref()?.entry(index))
}

/// A table and the bytes its offsets count in.
#[derive(Debug)]
struct Table<'a> {
    entries: &'a [u8],
    size: usize,
    count: usize,
    strings: &'a [u8],
}

impl<'a> Table<'a> {
    fn find(cache: &'a [u8]) -> Option<Self> {
        if let Some(table) = Self::new_format(cache) {
            return Some(table);
        }
        if !cache.starts_with(OLD_MAGIC) {
            return None;
        }
        let count = usize::try_from(number(cache, 12)?).ok()?;
        let entries = cache.get(OLD_HEADER..)?;
        let length = count.checked_mul(OLD_ENTRY)?;
        let behind = entries.get(length..)?;
        // The new table, if any, is aligned to eight bytes of the file.
        let start = (OLD_HEADER + length).checked_next_multiple_of(8)?;
        if let Some(table) = cache.get(start..).and_then(Self::new_format) {
            return Some(table);
        }
        Some(Self {
            entries,
            size: OLD_ENTRY,
            count,
            strings: behind,
        })
    }

    fn new_format(cache: &'a [u8]) -> Option<Self> {
        if !cache.starts_with(NEW_MAGIC) {
            return None;
        }
        let entries = cache.get(NEW_HEADER..)?;
        let count = usize::try_from(number(cache, 20)?).ok()?;
        (entries.len() >= count.checked_mul(NEW_ENTRY)?).then_some(Self {
            entries,
            size: NEW_ENTRY,
            count,
            strings: cache,
        })
    }

    fn entry(&self, index: usize) -> Option<Entry<'a>> {
        let entry = self.entries.get(index.checked_mul(self.size)?..)?;
        let flags = number(entry, 0)?;
        if OWN_FLAGS != 0 && flags & 0xffff != OWN_FLAGS {
            return None;
        }
        let name = self.string(number(entry, 4)?)?;
        let path = self.string(number(entry, 8)?)?;
        // A name with a slash would lead out of the directory that it is put into.
        (!name.is_empty()
            && !name.contains(&b'/')
            && name != b"."
            && name != b".."
            && path.starts_with(b"/"))
        .then(|| Entry {
            name: OsStr::from_bytes(name),
            path: Path::new(OsStr::from_bytes(path)),
        })
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(usize::try_from(offset).ok()?..)?;
        let window = rest.get(..MAX_STRING).unwrap_or(rest);
        let end = window.iter().position(|byte| *byte == 0)?;
        window.get(..end)
    }
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A cache of libraries of this machine's kind, for tests.
#[cfg(test)]
pub fn tests_cache(libraries: &[(&str, &str)]) -> Vec<u8> {
    let flags = if OWN_FLAGS == 0 { 3 } else { OWN_FLAGS };
    let libraries: Vec<_> = libraries
        .iter()
        .map(|(name, path)| (flags, *name, *path))
        .collect();
    new_cache(&libraries)
}

#[cfg(test)]
fn new_cache(libraries: &[(u32, &str, &str)]) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut entries = Vec::new();
    let start = NEW_HEADER + libraries.len() * NEW_ENTRY;
    for (flags, name, path) in libraries {
        entries.extend(flags.to_ne_bytes());
        for text in [name, path] {
            entries.extend(u32::try_from(start + strings.len()).unwrap().to_ne_bytes());
            strings.extend(text.as_bytes());
            strings.push(0);
        }
        entries.extend([0; 12]);
    }
    let mut cache = NEW_MAGIC.to_vec();
    cache.extend(u32::try_from(libraries.len()).unwrap().to_ne_bytes());
    cache.extend(u32::try_from(strings.len()).unwrap().to_ne_bytes());
    cache.resize(NEW_HEADER, 0);
    cache.extend(entries);
    cache.extend(strings);
    cache
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLAGS: u32 = if OWN_FLAGS == 0 { 3 } else { OWN_FLAGS };

    fn old_cache(libraries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut cache = OLD_MAGIC.to_vec();
        cache.resize(12, 0);
        cache.extend(u32::try_from(libraries.len()).unwrap().to_ne_bytes());
        for (flags, name, path) in libraries {
            cache.extend(flags.to_ne_bytes());
            for text in [name, path] {
                cache.extend(u32::try_from(strings.len()).unwrap().to_ne_bytes());
                strings.extend(text.as_bytes());
                strings.push(0);
            }
        }
        cache.extend(strings);
        cache
    }

    fn seen(cache: &[u8]) -> Vec<(String, String)> {
        entries(cache)
            .map(|entry| {
                (
                    entry.name.to_str().unwrap().to_owned(),
                    entry.path.to_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    fn pair(name: &str, path: &str) -> (String, String) {
        (name.to_owned(), path.to_owned())
    }

    #[test]
    fn all_three_layouts() {
        let libraries = [
            (FLAGS, "liba.so.1", "/lib/liba.so.1"),
            (FLAGS, "../x", "/lib/x"),
            (FLAGS, "libb.so", "lib/b"),
            (FLAGS, "libc.so.6", "/lib/libc.so.6"),
        ];
        let wanted = [
            pair("liba.so.1", "/lib/liba.so.1"),
            pair("libc.so.6", "/lib/libc.so.6"),
        ];
        assert_eq!(seen(&new_cache(&libraries)), wanted);
        assert_eq!(seen(&old_cache(&libraries)), wanted);
        let mut both = old_cache(&[(FLAGS, "libo.so", "/old")]);
        let strings = "libo.so\0/old\0".len();
        both.truncate(both.len() - strings);
        both.resize(both.len().next_multiple_of(8), 0);
        both.extend(new_cache(&libraries));
        assert_eq!(seen(&both), wanted);
    }

    #[test]
    fn other_architectures_are_left_out() {
        if OWN_FLAGS == 0 {
            return;
        }
        let cache = new_cache(&[(0x0003, "liba.so", "/lib32/liba.so")]);
        assert_eq!(seen(&cache), []);
    }

    #[test]
    fn the_machines_own_cache() {
        let Ok(cache) = std::fs::read("/etc/ld.so.cache") else {
            return;
        };
        let libc = entries(&cache).find(|entry| entry.name == "libc.so.6");
        if let Some(libc) = libc {
            assert!(libc.path.is_absolute());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600), magic in 0..3) {
            let mut cache = match magic { 0 => OLD_MAGIC.to_vec(), 1 => NEW_MAGIC.to_vec(), _ => Vec::new() };
            cache.extend(bytes);
            let _count = entries(&cache).take(10_000).count();
        }

        #[test]
        fn any_change_does_no_harm(position in 0_usize..200, byte in any::<u8>()) {
            let mut cache = new_cache(&[(FLAGS, "liba.so", "/lib/liba.so"), (FLAGS, "libb.so", "/lib/libb.so")]);
            if let Some(place) = cache.get_mut(position) {
                *place = byte;
            }
            let _count = entries(&cache).count();
        }
    }
}
