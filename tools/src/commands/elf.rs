//! What an ELF file says it needs: its interpreter, its libraries, and where to look for them.
//!
//! Only the program headers and the dynamic section are read, as the linker does at run time;
//! section headers may be stripped. Every number is checked, wrong ones make the file "no ELF".

use std::ops::Range;

/// Which other files a file may be linked with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// 32 or 64 bits: `EI_CLASS`.
    class: u8,
    /// Byte order: `EI_DATA`.
    data: u8,
    /// Processor: `e_machine`.
    machine: u16,
}

/// The dynamic part of an executable or library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Elf {
    /// What it was built for.
    pub(crate) target: Target,
    /// The program that loads it (`PT_INTERP`); none for libraries and static programs.
    pub(crate) interpreter: Option<String>,
    /// Names of libraries (`DT_NEEDED`).
    pub(crate) needed: Vec<String>,
    /// Directories to search first (`DT_RPATH`, `DT_RUNPATH`), `$ORIGIN` not yet replaced.
    pub(crate) search: Vec<String>,
}

/// System V gABI, chapters 4 and 5.
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// No linker accepts more, and a loop over hostile counts must end.
const MAX_HEADERS: u64 = 4096;

/// Reads numbers of the file's class and byte order.
struct Reader<'a> {
    bytes: &'a [u8],
    wide: bool,
    big: bool,
}

impl Reader<'_> {
    fn number(&self, offset: u64, size: usize) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.bytes.get(start..start.checked_add(size)?)?;
        let push = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, push)
        } else {
            bytes.iter().rev().fold(0, push)
        })
    }

    /// A field at one place in 64-bit files and at another in 32-bit ones, as wide as an address.
    fn address(&self, base: u64, wide: u64, narrow: u64) -> Option<u64> {
        let (at, size) = if self.wide { (wide, 8) } else { (narrow, 4) };
        self.number(base.checked_add(at)?, size)
    }

    fn text(&self, offset: u64) -> Option<String> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        String::from_utf8(rest.get(..end)?.to_vec()).ok()
    }
}

/// A program header.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

/// Parses a whole file; `None` when it is no ELF file.
pub(crate) fn parse(bytes: &[u8]) -> Option<Elf> {
    if bytes.get(..4)? != b"\x7fELF" {
        return None;
    }
    let (class, data) = (*bytes.get(4)?, *bytes.get(5)?);
    let reader = Reader {
        bytes,
        wide: class == 2,
        big: data == 2,
    };
    let machine = u16::try_from(reader.number(18, 2)?).ok()?;
    let segments = segments(&reader)?;
    let interpreter = segments
        .iter()
        .find(|segment| segment.kind == PT_INTERP)
        .and_then(|segment| reader.text(segment.offset));
    let mut elf = Elf {
        target: Target {
            class,
            data,
            machine,
        },
        interpreter,
        needed: Vec::new(),
        search: Vec::new(),
    };
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Some(elf);
    };
    let entries = dynamic_entries(&reader, dynamic);
    let table = entries
        .iter()
        .find(|(tag, _)| *tag == DT_STRTAB)
        .and_then(|(_, address)| file_offset(&segments, *address));
    let name = |value: u64| reader.text(table?.checked_add(value)?);
    for (tag, value) in &entries {
        match *tag {
            DT_NEEDED => elf.needed.extend(name(*value)),
            DT_RPATH | DT_RUNPATH => {
                elf.search.extend(
                    name(*value)
                        .iter()
                        .flat_map(|dirs| dirs.split(':'))
                        .map(str::to_owned),
                );
            }
            _ => {}
        }
    }
    Some(elf)
}

fn segments(reader: &Reader<'_>) -> Option<Vec<Segment>> {
    let table = reader.address(0, 32, 28)?;
    let (size_at, count_at) = if reader.wide { (54, 56) } else { (42, 44) };
    let size = reader.number(size_at, 2)?;
    let count = reader.number(count_at, 2)?.min(MAX_HEADERS);
    (0..count)
        .map(|index| {
            let base = table.checked_add(index.checked_mul(size)?)?;
            Some(Segment {
                kind: reader.number(base, 4)?,
                offset: reader.address(base, 8, 4)?,
                address: reader.address(base, 16, 8)?,
                size: reader.address(base, 32, 16)?,
            })
        })
        .collect()
}

fn dynamic_entries(reader: &Reader<'_>, dynamic: &Segment) -> Vec<(u64, u64)> {
    let step = if reader.wide { 16 } else { 8 };
    let count = (dynamic.size / step).min(MAX_HEADERS);
    (0..count)
        .map_while(|index| {
            let base = dynamic.offset.checked_add(index * step)?;
            Some((reader.address(base, 0, 0)?, reader.address(base, 8, 4)?))
        })
        .take_while(|(tag, _)| *tag != DT_NULL)
        .collect()
}

/// Where in the file the byte lies that is loaded at `address`.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.kind == PT_LOAD)
        .find_map(|segment| {
            let loaded: Range<u64> = segment.address..segment.address.checked_add(segment.size)?;
            loaded
                .contains(&address)
                .then(|| segment.offset.checked_add(address - segment.address))
                .flatten()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_test_program_itself() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = parse(&bytes).unwrap();
        assert_eq!(
            elf.target.class,
            if cfg!(target_pointer_width = "64") {
                2
            } else {
                1
            }
        );
        if let Some(interpreter) = &elf.interpreter {
            assert!(interpreter.starts_with('/'), "{interpreter}");
            assert!(
                elf.needed.iter().any(|name| name.starts_with("libc.")),
                "{:?}",
                elf.needed
            );
        }
    }

    #[test]
    fn damaged_files_are_no_elf_files() {
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for len in [0, 4, 17, 40, 63, 64, 100, 200] {
            assert_eq!(parse(&bytes[..len]), None, "{len}");
        }
        // Any of the header's bytes changed: another answer or none, never a panic.
        let mut head = bytes[..bytes.len().min(1 << 16)].to_vec();
        for index in 4..512 {
            let kept = head[index];
            head[index] = 0xff;
            let _any = parse(&head);
            head[index] = kept;
        }
    }
}
