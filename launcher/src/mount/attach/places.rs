//! Parts of images as sources, and destinations in a root that must stay as it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use super::{Builder, attach, mount_error};
use crate::error::{LaunchError, errno_reason};
use crate::mount::{MountStep, MountTag, resolve, session};

impl Builder<'_> {
    /// A part of an image as a tree of its own.
    pub(super) fn part_of_image(
        &self,
        step: &MountStep,
        number: usize,
        image: &Path,
        inside: &Path,
    ) -> Result<OwnedFd, LaunchError> {
        let failed = |error| mount_error(step, errno_reason(error));
        let tree = self.images.get(number).ok_or_else(|| failed(Errno::NXIO))?;
        let place = match resolve::open_in_root(tree.as_fd(), inside) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                return Err(LaunchError::NotInImage {
                    path: inside.to_owned(),
                    image: image.to_owned(),
                });
            }
            place => place.map_err(failed)?,
        };
        session::tree_of(place.as_fd()).map_err(failed)
    }

    /// Whether what is missing of the destination is missing in the root itself.
    pub(super) fn is_root(&self, step: &MountStep) -> bool {
        // What --fakeroot needs is made all the same.
        if step.tag == MountTag::Files {
            return false;
        }
        let mount = |place: BorrowedFd<'_>| resolve::place(place).map(|place| place.mount);
        let Ok(Some(missing)) = resolve::find_missing(self.root, &step.destination) else {
            return true;
        };
        let existing = Path::new("/").join(&missing.existing);
        resolve::open_in_root(self.root, &existing)
            .and_then(|place| Ok(mount(place.as_fd())? == mount(self.root)?))
            .unwrap_or(true)
    }

    /// A place for the home directory where the root must stay as it is: its first directory is
    /// covered by an empty one that has only the way there.
    pub(super) fn home_place(&mut self, destination: &Path) -> Option<OwnedFd> {
        let mut names = destination.iter().skip(1);
        let first = Path::new("/").join(names.next()?);
        let place = resolve::open_in_root(self.root, &first).ok()?;
        if !resolve::place(place.as_fd()).ok()?.directory {
            return None;
        }
        let mut here = self.session.directory(0o755).ok()?;
        let tree = session::tree_of(here.as_fd()).ok()?;
        for name in names {
            here = resolve::make_directory(here.as_fd(), name, 0o755).ok()?;
        }
        attach(tree.as_fd(), place.as_fd()).ok()?;
        resolve::open_in_root(self.root, destination).ok()
    }
}
