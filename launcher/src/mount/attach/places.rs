//! Parts of images as sources, and destinations in a root that must stay as it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Builder, attach, mount_error};
use crate::error::{LaunchError, errno_reason};
use crate::mount::{MountSource, MountStep, MountTag, resolve, session};
use crate::report::{Level, Report};
use crate::rootfs::BindPointKind;

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

    /// Creates a destination: what a bind before this one put there may be writable, or the root is.
    pub(super) fn create(
        &self,
        step: &MountStep,
        kind: BindPointKind,
        error: Errno,
    ) -> Result<OwnedFd, LaunchError> {
        resolve::find_missing(self.root, &step.destination)
            .and_then(|missing| missing.ok_or(error))
            .and_then(|missing| match resolve::create(self.root, &missing, kind) {
                Err(Errno::ROFS) => self.create_in_source(step, kind),
                created => created,
            })
            .map_err(|_| missing_destination(step, &step.destination))
    }

    /// Creates a destination that lies in a directory of the host which is bound read-only: made
    /// there, as Apptainer does, since only the mount is read-only.
    fn create_in_source(&self, step: &MountStep, kind: BindPointKind) -> Result<OwnedFd, Errno> {
        let before = self.steps.iter().take_while(|other| *other != step);
        let covering = before.filter_map(|other| {
            let MountSource::Host { path } = &other.source else {
                return None;
            };
            let inside = step.destination.strip_prefix(&other.destination).ok()?;
            (other.tag == MountTag::Userbinds).then_some((path, inside))
        });
        let (source, inside) = covering.last().ok_or(Errno::ROFS)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let source = rustix::fs::openat(CWD, source, flags, Mode::empty())?;
        let missing = resolve::find_missing(source.as_fd(), inside)?.ok_or(Errno::ROFS)?;
        resolve::create(source.as_fd(), &missing, kind)?;
        resolve::open_in_root(self.root, &step.destination)
    }

    /// A destination that the root lacks, which must stay as it is.
    pub(super) fn in_untouched_root(
        &mut self,
        step: &MountStep,
        report: &mut Report<'_>,
    ) -> Result<OwnedFd, LaunchError> {
        let mut blamed = step.destination.clone();
        if step.tag == MountTag::Home {
            if let Some(place) = self.home_place(&step.destination) {
                return Ok(place);
            }
            // What was to be covered.
            blamed = step.destination.iter().take(2).collect();
        }
        report(
            Level::Warning,
            &format!(
                "By using --writable, Apptainer can't create {} destination automatically without \
                 overlay or underlay",
                blamed.display()
            ),
        );
        Err(missing_destination(step, &blamed))
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
    fn home_place(&mut self, destination: &Path) -> Option<OwnedFd> {
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

fn missing_destination(step: &MountStep, destination: &Path) -> LaunchError {
    LaunchError::MissingDestination {
        source_path: step.source.label(),
        destination: destination.to_owned(),
    }
}
