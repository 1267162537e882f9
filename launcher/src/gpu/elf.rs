//! The little of a shared library's ELF structure that is needed: for which machine it is, its
//! SONAME, which symbol versions it needs and which it defines.
//!
//! Libraries of an image are hostile: every offset is checked against what was read, every table
//! and every read has a limit, and links in tables are followed only forwards.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const SHARED_OBJECT: u16 = 3;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;

const TAG_STRTAB: u64 = 5;
const TAG_STRSZ: u64 = 10;
const TAG_SONAME: u64 = 14;
const TAG_VERDEF: u64 = 0x6fff_fffc;
const TAG_VERNEED: u64 = 0x6fff_fffe;

/// Most segments, bytes of a dynamic section, entries of a version table, and bytes of one.
const MAX_SEGMENTS: usize = 64;
const MAX_DYNAMIC: usize = 64 << 10;
const MAX_VERSIONS: usize = 2048;
const MAX_VERSION_TABLE: usize = 16 << 10;

/// Names of versions lie close together in the string table; this much is read at once.
const MAX_NAME_SPAN: u64 = 256 << 10;
const MAX_NAME: usize = 256;

/// The machine that skiff itself runs on.
const OWN_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else {
    0
};

/// An opened shared library.
#[derive(Debug)]
pub struct Library {
    file: File,
    segments: Vec<Segment>,
    strings: u64,
    strings_size: u64,
    soname: Option<u64>,
    needs: Option<u64>,
    definitions: Option<u64>,
}

/// A part of the file and its place in memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Library {
    /// Reads the headers of `file`; `None` unless it is a shared library that this machine's
    /// programs can load.
    pub fn read(file: File) -> Option<Self> {
        let mut start = [0_u8; 64 + MAX_SEGMENTS * 56];
        let count = read_at(&file, &mut start, 0)?;
        let start = start.get(..count)?;
        if start.get(..6)? != [0x7f, b'E', b'L', b'F', CLASS_64, LITTLE_ENDIAN]
            || half(start, 16)? != SHARED_OBJECT
            || OWN_MACHINE != 0 && half(start, 18)? != OWN_MACHINE
        {
            return None;
        }
        let table = usize::try_from(long(start, 32)?).ok()?;
        let size = usize::from(half(start, 54)?);
        let number = usize::from(half(start, 56)?).min(MAX_SEGMENTS);
        if size < 56 {
            return None;
        }
        let segments: Vec<Segment> = (0..number)
            .map_while(|index| {
                let header = start.get(table.checked_add(index.checked_mul(size)?)?..)?;
                Some(Segment {
                    kind: word(header, 0)?,
                    offset: long(header, 8)?,
                    address: long(header, 16)?,
                    size: long(header, 32)?,
                })
            })
            .collect();
        let dynamic = *segments.iter().find(|segment| segment.kind == DYNAMIC)?;
        let mut library = Self {
            file,
            segments,
            strings: 0,
            strings_size: 0,
            soname: None,
            needs: None,
            definitions: None,
        };
        library.read_dynamic(dynamic)?;
        Some(library)
    }

    fn read_dynamic(&mut self, dynamic: Segment) -> Option<()> {
        let size = usize::try_from(dynamic.size).ok()?.min(MAX_DYNAMIC);
        let bytes = self.bytes(dynamic.offset, size)?;
        for entry in bytes.chunks_exact(16) {
            let value = long(entry, 8)?;
            match long(entry, 0)? {
                0 => break,
                TAG_STRTAB => self.strings = self.offset_of(value)?,
                TAG_STRSZ => self.strings_size = value,
                TAG_SONAME => self.soname = Some(value),
                TAG_VERNEED => self.needs = self.offset_of(value),
                TAG_VERDEF => self.definitions = self.offset_of(value),
                _ => {}
            }
        }
        Some(())
    }

    /// Where a place in memory is in the file.
    fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| segment.kind == LOAD)
            .find_map(|segment| {
                let inside = address.checked_sub(segment.address)?;
                (inside < segment.size).then(|| segment.offset.checked_add(inside))?
            })
    }

    /// At most `size` bytes at `offset`.
    fn bytes(&self, offset: u64, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        let count = read_at(&self.file, &mut bytes, offset)?;
        bytes.truncate(count);
        Some(bytes)
    }

    /// The name under which programs ask for it.
    pub fn soname(&self) -> Option<String> {
        let names = self.strings(&[self.soname?]);
        names.into_iter().next().filter(|name| !name.is_empty())
    }

    /// Names of the versions that it needs, of whatever library.
    pub fn needed_versions(&self) -> Vec<String> {
        let Some(table) = self.needs.and_then(|offset| self.version_table(offset)) else {
            return Vec::new();
        };
        // Each entry: version, count, file, first auxiliary, next; each auxiliary: hash, flags,
        // other, name, next.
        let mut names = Vec::new();
        let mut here = 0_usize;
        while names.len() < MAX_VERSIONS {
            let Some(entry) = table.get(here..) else {
                break;
            };
            let (Some(count), Some(first), Some(next)) =
                (half(entry, 2), word(entry, 8), word(entry, 12))
            else {
                break;
            };
            let mut auxiliary = forward(here, first);
            for _ in 0..count {
                let Some(entry) = auxiliary.and_then(|at| table.get(at..)) else {
                    break;
                };
                let (Some(name), Some(step)) = (word(entry, 8), word(entry, 12)) else {
                    break;
                };
                names.push(u64::from(name));
                if step == 0 || names.len() >= MAX_VERSIONS {
                    break;
                }
                auxiliary = auxiliary.and_then(|at| forward(at, step));
            }
            match forward(here, next) {
                Some(place) if next != 0 => here = place,
                _ => break,
            }
        }
        self.strings(&names)
    }

    /// Names of the versions that it defines.
    pub fn defined_versions(&self) -> Vec<String> {
        let Some(table) = self
            .definitions
            .and_then(|offset| self.version_table(offset))
        else {
            return Vec::new();
        };
        // Each entry: version, flags, index, count, hash, auxiliary, next; the first auxiliary has
        // its name.
        let mut names = Vec::new();
        let mut here = 0_usize;
        while names.len() < MAX_VERSIONS {
            let Some(entry) = table.get(here..) else {
                break;
            };
            let (Some(auxiliary), Some(next)) = (word(entry, 12), word(entry, 16)) else {
                break;
            };
            let name = forward(here, auxiliary).and_then(|at| word(table.get(at..)?, 0));
            names.extend(name.map(u64::from));
            match forward(here, next) {
                Some(place) if next != 0 => here = place,
                _ => break,
            }
        }
        self.strings(&names)
    }

    fn version_table(&self, offset: u64) -> Option<Vec<u8>> {
        // Tables are followed by other sections, so that reading past their end does no harm.
        self.bytes(offset, MAX_VERSION_TABLE)
    }

    /// Strings at these offsets in the string table, in any order; what is out of bounds is left
    /// out.
    fn strings(&self, offsets: &[u64]) -> Vec<String> {
        let inside = || {
            let size = self.strings_size;
            offsets.iter().copied().filter(move |offset| *offset < size)
        };
        let (Some(low), Some(high)) = (inside().min(), inside().max()) else {
            return Vec::new();
        };
        let room = u64::try_from(MAX_NAME).unwrap_or_default();
        let span = (high - low + room)
            .min(self.strings_size - low)
            .min(MAX_NAME_SPAN);
        let bytes = usize::try_from(span)
            .ok()
            .and_then(|span| self.bytes(self.strings.checked_add(low)?, span));
        let Some(bytes) = bytes else {
            return Vec::new();
        };
        inside()
            .filter_map(|offset| {
                let start = usize::try_from(offset - low).ok()?;
                let rest = bytes.get(start..)?;
                let window = rest.get(..MAX_NAME).unwrap_or(rest);
                let end = window.iter().position(|byte| *byte == 0)?;
                Some(String::from_utf8_lossy(window.get(..end)?).into_owned())
            })
            .collect()
    }
}

fn forward(here: usize, step: u32) -> Option<usize> {
    here.checked_add(usize::try_from(step).ok()?)
}

/// Reads until `buffer` is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.checked_add(u64::try_from(filled).ok()?)?;
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(filled)
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use proptest::prelude::*;

    use super::*;

    fn libc() -> Option<Vec<u8>> {
        [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/libc.so.6",
            "/lib/aarch64-linux-gnu/libc.so.6",
        ]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn the_machines_own_libc() {
        let Some(bytes) = libc() else { return };
        let library = Library::read(file_of(&bytes)).unwrap();
        assert_eq!(library.soname().as_deref(), Some("libc.so.6"));
        let defined = library.defined_versions();
        assert!(
            defined.iter().any(|name| name == "GLIBC_2.17"),
            "{defined:?}"
        );
        assert!(
            defined.iter().any(|name| name.starts_with("GLIBC_2.3")),
            "{defined:?}"
        );
    }

    #[test]
    fn what_is_no_library() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01"] {
            assert!(Library::read(file_of(bytes)).is_none());
        }
        // The test itself is a program or a position independent one; either way it has no SONAME.
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(Library::read(own).is_none_or(|own| own.soname().is_none()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_change_does_no_harm(changes in proptest::collection::vec((0_usize..8192, any::<u8>()), 1..40), length in 0_usize..60_000) {
            let Some(mut bytes) = libc() else { return Ok(()) };
            bytes.truncate(length.max(1000));
            for (position, byte) in changes {
                if let Some(place) = bytes.get_mut(position) {
                    *place = byte;
                }
            }
            if let Some(library) = Library::read(file_of(&bytes)) {
                let _all = (library.soname(), library.needed_versions(), library.defined_versions());
            }
        }
    }
}
