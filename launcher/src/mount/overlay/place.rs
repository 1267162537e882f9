//! Where the kernel's overlayfs must not be tried: file systems on which it is refused, is
//! incomplete, or has taken whole nodes down.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{OFlags, XattrFlags};

use crate::mount::resolve;

/// File systems that are no upper layer, by the magic numbers of statfs(2).
const NO_UPPER: [(i64, &str); 9] = [
    (0x6969, "NFS"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0xAAD7_AAEA, "PanFS"),
    (0xF15F, "eCryptfs"),
    (0x794C_7630, "overlayfs"),
    (0x6573_5546, "FUSE"),
    (0xFF53_4D42, "CIFS"),
];

/// Those that are no lower layer either.
const NO_LOWER: [&str; 4] = ["Lustre", "GPFS", "PanFS", "eCryptfs"];

fn name_of(place: BorrowedFd<'_>) -> Option<&'static str> {
    let magic = rustix::fs::fstatfs(place).ok()?.f_type & 0xFFFF_FFFF;
    NO_UPPER
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, name)| *name)
}

/// Why `place` cannot be a lower layer of the kernel's.
pub(super) fn unfit_below(place: BorrowedFd<'_>) -> Option<String> {
    let name = name_of(place).filter(|name| NO_LOWER.contains(name))?;
    Some(format!("a layer lies on {name}"))
}

/// Why `base`, with `upper` and `work`, cannot be the upper layer of the kernel's.
pub(super) fn unfit_above(base: BorrowedFd<'_>, user_namespace: bool) -> Option<String> {
    if let Some(name) = name_of(base) {
        return Some(format!("it lies on {name}"));
    }
    // Without attributes of our own, directories that replace others cannot be marked.
    if user_namespace {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let work = resolve::open_with(base, Path::new("work"), flags).ok()?;
        const NAME: &str = "user.skiff.probe";
        if rustix::fs::fsetxattr(work.as_fd(), NAME, b"1", XattrFlags::empty()).is_err() {
            return Some("its file system has no user attributes".to_owned());
        }
        // It is harmless where it stays.
        let _gone = rustix::fs::fremovexattr(work.as_fd(), NAME);
    }
    None
}
