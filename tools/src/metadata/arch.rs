//! Which machine an image's programs are for, as their ELF headers say.

use skiff_fs::format::sif::Arch;

use super::files::Files;

/// Programs that most images have.
const PROGRAMS: &[&str] = &[
    "/bin/sh",
    "/bin/bash",
    "/bin/busybox",
    "/bin/ls",
    "/bin/true",
    "/usr/bin/env",
    "/sbin/init",
];

/// Of the first program found; `None` when there is none, or none that is known.
pub fn of_programs(files: &dyn Files) -> Option<Arch> {
    let mut programs = PROGRAMS.iter();
    programs.find_map(|path| of_header(&files.read(path).ok()??))
}

/// From class, byte order and `e_machine` (ELF specification, "ELF header").
fn of_header(bytes: &[u8]) -> Option<Arch> {
    let bytes = bytes.strip_prefix(b"\x7fELF")?;
    let (class, order) = (*bytes.first()?, *bytes.get(1)?);
    let machine = <[u8; 2]>::try_from(bytes.get(14..16)?).ok()?;
    let (little, machine) = match order {
        1 => (true, u16::from_le_bytes(machine)),
        2 => (false, u16::from_be_bytes(machine)),
        _ => return None,
    };
    Some(match (machine, class, little) {
        (3, 1, true) => Arch::I386,
        (62, 2, true) => Arch::Amd64,
        (40, 1, true) => Arch::Arm,
        (183, 2, true) => Arch::Arm64,
        (21, 2, false) => Arch::Ppc64,
        (21, 2, true) => Arch::Ppc64le,
        (8, 1, false) => Arch::Mips,
        (8, 1, true) => Arch::Mipsle,
        (8, 2, false) => Arch::Mips64,
        (8, 2, true) => Arch::Mips64le,
        (22, 2, false) => Arch::S390x,
        (243, 2, true) => Arch::Riscv64,
        (258, 2, true) => Arch::Loong64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        bytes[18..20].copy_from_slice(&machine);
        bytes
    }

    #[test]
    fn machines_are_told_by_class_and_order() {
        for (bytes, arch) in [
            (header(2, 1, [62, 0]), Some(Arch::Amd64)),
            (header(2, 1, [183, 0]), Some(Arch::Arm64)),
            (header(2, 2, [0, 21]), Some(Arch::Ppc64)),
            (header(2, 1, [21, 0]), Some(Arch::Ppc64le)),
            (header(1, 1, [62, 0]), None),
            (header(2, 3, [62, 0]), None),
            (b"\x7fELF\x02\x01".to_vec(), None),
            (b"#!/bin/sh\n".to_vec(), None),
        ] {
            assert_eq!(of_header(&bytes), arch);
        }
    }

    #[test]
    fn this_machine_is_known() {
        let own = std::fs::read("/proc/self/exe").expect("it runs");
        assert_eq!(of_header(&own), Some(Arch::host()));
    }
}
