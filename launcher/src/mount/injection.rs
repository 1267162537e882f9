//! Files of the host that are put into every container alike, whatever the image is: drivers.
//!
//! An image must not be able to choose where they go. Their directories are looked up inside the
//! root like any other; the last component is taken as it is: a link there is covered, not followed,
//! and a directory that is really a link is refused.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::resolve;
use super::tree;
use super::{HostLibrary, MountFlags};
use crate::error::errno_reason;
use crate::gpu::glibc::{self, GlibcVersion};
use crate::report::{Level, Report};

/// Libraries that are too new for the image and are named one by one.
const NAMED: usize = 3;

/// Libraries opened before the host is out of reach.
#[derive(Debug, Default)]
pub struct OpenLibraries {
    libraries: Vec<(String, OwnedFd)>,
    newest: Option<GlibcVersion>,
}

impl OpenLibraries {
    /// Opens the files; missing ones are left out with a message.
    pub fn open(wish: &[HostLibrary], flags: MountFlags, report: &mut Report<'_>) -> Self {
        let mut open = Self {
            libraries: Vec::with_capacity(wish.len()),
            newest: wish.iter().filter_map(|library| library.needs).max(),
        };
        for library in wish {
            let opened = tree::clone_tree(CWD, &library.path).and_then(|tree| {
                // Flags that the host has locked are at least as strict.
                let _as_on_the_host = tree::restrict(tree.as_fd(), flags);
                if resolve::place(tree.as_fd())?.directory {
                    return Err(Errno::ISDIR);
                }
                Ok(tree)
            });
            match opened {
                Ok(tree) => open.libraries.push((library.name.clone(), tree)),
                Err(error) => report(
                    Level::Warning,
                    &format!(
                        "Skipping library {}: {}",
                        library.path.display(),
                        errno_reason(error)
                    ),
                ),
            }
        }
        open
    }

    /// Mounts them into the directory at `place`, an empty one of ours, and makes empty files of
    /// the names of `places` that no library has.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn fill(&self, place: BorrowedFd<'_>, places: &[String]) -> Result<(), Errno> {
        for name in places {
            resolve::make_file(place, OsStr::new(name))?;
        }
        for (name, library) in &self.libraries {
            let file = resolve::make_file(place, OsStr::new(name))?;
            tree::attach(library.as_fd(), file.as_fd())?;
        }
        Ok(())
    }

    /// Tells which of `wish` cannot be loaded in the image below `root`.
    pub fn compare(&self, root: BorrowedFd<'_>, wish: &[HostLibrary], report: &mut Report<'_>) {
        let Some(newest) = self.newest else { return };
        let Some(available) = glibc::of_tree(root) else {
            report(
                Level::Verbose,
                "the image has no GNU C library that could be compared with what the host's \
                 libraries need",
            );
            return;
        };
        if newest <= available {
            return;
        }
        let too_new: Vec<_> = wish
            .iter()
            .filter_map(|library| library.needs.map(|needs| (library, needs)))
            .filter(|(_, needs)| *needs > available)
            .collect();
        for (library, needs) in too_new.iter().take(NAMED) {
            report(
                Level::Warning,
                &format!(
                    "{} of this host needs GLIBC_{needs}, but the image has GLIBC_{available}: \
                     programs that load it will fail",
                    library.name
                ),
            );
        }
        if let Some(more) = too_new.get(NAMED..).filter(|more| !more.is_empty()) {
            let names: Vec<_> = more.iter().map(|(library, _)| &*library.name).collect();
            report(
                Level::Warning,
                &format!(
                    "{} more libraries of this host need a newer GLIBC than the image's {available}: \
                     {}",
                    more.len(),
                    names.join(", ")
                ),
            );
        }
    }
}

/// The place of an injected file or directory: `path` without following a link at its end.
///
/// # Errors
/// As `openat2(2)`.
pub fn place(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    resolve::open_with(root, path, OFlags::PATH | OFlags::NOFOLLOW)
}

/// The place of our own directory: no link anywhere on the way.
///
/// # Errors
/// As `openat2(2)`; [`Errno::LOOP`] for a link.
pub fn own_place(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let relative: PathBuf = path.strip_prefix("/").unwrap_or(path).to_owned();
    rustix::fs::openat2(
        root,
        relative,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}
