//! Text of generated files.

use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Builder, mount_error};
use crate::error::{LaunchError, errno_reason, reason};
use crate::mount::resolve;
use crate::mount::{FileContent, MountStep};
use crate::report::{Level, Report};

/// Largest passwd or group file of an image that is copied.
const MAX_IDENTITY_FILE: usize = 16 << 20;

impl Builder<'_> {
    /// Text of a generated file.
    pub(super) fn text(
        &self,
        step: &MountStep,
        content: &FileContent,
        place: BorrowedFd<'_>,
        report: &mut Report<'_>,
    ) -> Result<Option<Vec<u8>>, LaunchError> {
        let image = || -> Result<String, LaunchError> {
            let text = self
                .read_image_file(step, place)
                .map_err(|error| mount_error(step, errno_reason(error)))?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        match content {
            FileContent::Text(text) => Ok(Some(text.clone().into_bytes())),
            FileContent::HostCopy(path) => match std::fs::read(path) {
                Ok(text) => Ok(Some(text)),
                Err(error) => {
                    report(
                        Level::Warning,
                        &format!(
                            "Skipping mount {} [{}]: {}",
                            path.display(),
                            step.tag,
                            reason(&error)
                        ),
                    );
                    Ok(None)
                }
            },
            FileContent::Passwd(edit) => Ok(Some(edit.apply(&image()?).into_bytes())),
            FileContent::Group(edit) => Ok(Some(edit.apply(&image()?).into_bytes())),
        }
    }

    /// Reads the image's own version of a file, which must be a regular one: a pipe or a device
    /// of a hostile image could keep us waiting.
    fn read_image_file(&self, step: &MountStep, place: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        let status = rustix::fs::fstat(place)?;
        if rustix::fs::FileType::from_raw_mode(status.st_mode) != rustix::fs::FileType::RegularFile
        {
            return Err(Errno::INVAL);
        }
        let file = resolve::open_with(
            self.root,
            &step.destination,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        )?;
        let mut text = Vec::new();
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let count = rustix::io::read(&file, &mut buffer)?;
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
                return Ok(text);
            };
            text.extend_from_slice(part);
            if text.len() > MAX_IDENTITY_FILE {
                return Err(Errno::FBIG);
            }
        }
    }
}
