//! The files of an image that is a directory.
//!
//! The image may hold links to anywhere; the kernel keeps their resolution below the directory.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::files::{Files, MAX_FILE_BYTES};

/// The files below a directory.
#[derive(Debug)]
pub struct SandboxFiles {
    root: OwnedFd,
}

impl SandboxFiles {
    /// Opens the directory.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { root })
    }

    /// Opens what `path` names; `None` when nothing of this kind is there.
    fn find(&self, path: &str, flags: OFlags, kind: FileType) -> anyhow::Result<Option<OwnedFd>> {
        let flags = flags | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        );
        match found {
            Ok(file) => {
                let mode = rustix::fs::fstat(&file)?.st_mode;
                Ok((FileType::from_raw_mode(mode) == kind).then_some(file))
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("opening {path} of the image")),
        }
    }
}

impl Files for SandboxFiles {
    fn read(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        // A named pipe must not make us wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(file) = self.find(path, flags, FileType::RegularFile)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        File::from(file)
            .take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut content)
            .with_context(|| format!("reading {path} of the image"))?;
        anyhow::ensure!(
            content.len() <= MAX_FILE_BYTES,
            "{path} of the image is too large"
        );
        Ok(Some(content))
    }

    fn names(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Some(directory) = self.find(path, flags, FileType::Directory)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn is_directory(&self, path: &str) -> bool {
        matches!(
            self.find(path, OFlags::PATH | OFlags::DIRECTORY, FileType::Directory),
            Ok(Some(_))
        )
    }
}
