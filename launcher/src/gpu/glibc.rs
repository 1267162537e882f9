//! Whether the host's libraries can be loaded in the image: a library built against a newer GNU C
//! library than the image's fails in the program with "version `GLIBC_2.38' not found", far away
//! from its cause.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use serde::{Serialize, Serializer};

use super::elf::Library;
use crate::mount::resolve;

/// Where images have their C library, most likely first.
const PLACES: [&str; 8] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/usr/lib/aarch64-linux-gnu/libc.so.6",
    "/lib/libc.so.6",
    "/usr/lib/libc.so.6",
];

/// A version of the GNU C library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GlibcVersion {
    major: u32,
    minor: u32,
}

impl GlibcVersion {
    /// The version in the name of a symbol version; `None` for other libraries' and private ones.
    pub fn parse(name: &str) -> Option<Self> {
        // Relocations of a new kind, which older loaders refuse by this name.
        if name == "GLIBC_ABI_DT_RELR" {
            return Some(Self {
                major: 2,
                minor: 36,
            });
        }
        let mut numbers = name.strip_prefix("GLIBC_")?.split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }

    /// The newest among these names.
    pub fn newest(names: &[String]) -> Option<Self> {
        names.iter().filter_map(|name| Self::parse(name)).max()
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for GlibcVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The version that the tree below `root` has; `None` where it has none or it cannot be told.
///
/// Links are followed inside the tree only; what is no regular file is not opened.
pub fn of_tree(root: BorrowedFd<'_>) -> Option<GlibcVersion> {
    PLACES.iter().find_map(|place| {
        let found = resolve::open_in_root(root, Path::new(place)).ok()?;
        let status = rustix::fs::fstat(found.as_fd()).ok()?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = resolve::open_with(root, Path::new(place), flags).ok()?;
        let library = Library::read(File::from(file))?;
        GlibcVersion::newest(&library.defined_versions())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str) -> String {
        GlibcVersion::parse(name).map_or_else(|| "none".to_owned(), |found| found.to_string())
    }

    #[test]
    fn names() {
        assert_eq!(version("GLIBC_2.17"), "2.17");
        assert_eq!(version("GLIBC_2.2.5"), "2.2");
        assert_eq!(version("GLIBC_ABI_DT_RELR"), "2.36");
        assert_eq!(version("GLIBC_PRIVATE"), "none");
        assert_eq!(version("GLIBCXX_3.4"), "none");
        assert_eq!(version("GLIBC_2"), "none");
    }

    #[test]
    fn newest_counts_as_numbers() {
        let names = ["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.4"].map(str::to_owned);
        assert_eq!(GlibcVersion::newest(&names).unwrap().to_string(), "2.34");
    }
}
