//! What a file or directory that the user names is, and the tree it holds.
//!
//! Kinds are tried in Apptainer's order: directory, SIF, squashfs, ext3. A file that claims to be
//! a SIF is not tried as anything else. Names do not matter.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::probe::{self, Probe};
use crate::format::sif::{self, Arch, Descriptor, Extra, FsType, Sif, SifError};
use crate::format::squashfs::{Squashfs, SquashfsError, SquashfsOptions};
use crate::source::{FileSource, Source, Window};
use crate::tree::Tree;

/// Why something is no image, or cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be opened: it does not exist, or permission is missing.
    #[error("could not open image {path}", path = path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host's own root cannot be the sandbox.
    #[error("/ as sandbox is not authorized")]
    HostRoot,
    /// It is none of the kinds that are known.
    #[error("image format not recognized")]
    NotRecognized,
    /// A SIF, but not a valid one.
    #[error(transparent)]
    Sif(#[from] SifError),
    /// A SIF that holds data only.
    #[error("no root filesystem found")]
    NoRoot,
    /// The root partition needs a key.
    #[error("the root partition is encrypted ({fs}), which is not supported yet")]
    Encrypted {
        /// How.
        fs: FsType,
    },
    /// The root partition holds something else than squashfs.
    #[error("the root partition is formatted as {fs}, which cannot be mounted yet")]
    RootFormat {
        /// What it holds.
        fs: FsType,
    },
    /// An ext3 image.
    #[error("this is an ext3 image, which is recognized but cannot be mounted yet")]
    Ext3,
    /// A sandbox is bound, not mounted.
    #[error("a directory has no file system of its own to mount")]
    Sandbox,
    /// The file system cannot be opened.
    #[error(transparent)]
    Squashfs(#[from] SquashfsError),
    /// The file could not be read.
    #[error("reading image {path}", path = path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What an image is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageKind {
    /// A directory.
    Sandbox,
    /// A SIF.
    Sif(Sif),
    /// A squashfs file system.
    Squashfs {
        /// Where it starts: behind the launch line, if there is one.
        offset: u64,
    },
    /// An ext3 file system.
    Ext3 {
        /// Where it starts.
        offset: u64,
    },
}

/// An open image. The file stays open, so that everything read later is of the same file.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    /// Of an image that is a file or directory of this machine.
    file: Option<Arc<FileSource>>,
    source: Arc<dyn Source>,
    kind: ImageKind,
}

impl Image {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let open = |source| ImageError::Open {
            path: path.to_owned(),
            source,
        };
        // Opening a named pipe would wait for a writer.
        let kind = fs::metadata(path).map_err(open)?.file_type();
        if !kind.is_file() && !kind.is_dir() && !kind.is_block_device() {
            return Err(ImageError::NotRecognized);
        }
        if kind.is_dir() && fs::canonicalize(path).map_err(open)? == Path::new("/") {
            return Err(ImageError::HostRoot);
        }
        Self::from_file(File::open(path).map_err(open)?, path)
    }

    /// Takes an open file; `path` is for messages only.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn from_file(file: File, path: &Path) -> Result<Self, ImageError> {
        let read = |source| ImageError::Read {
            path: path.to_owned(),
            source,
        };
        let is_directory = file.metadata().map_err(read)?.is_dir();
        let file = Arc::new(FileSource::new(file).map_err(read)?);
        if is_directory {
            return Ok(Self {
                path: path.to_owned(),
                source: Arc::clone(&file) as Arc<dyn Source>,
                file: Some(file),
                kind: ImageKind::Sandbox,
            });
        }
        let image = Self::from_source(Arc::clone(&file) as Arc<dyn Source>, path)?;
        Ok(Self {
            file: Some(file),
            ..image
        })
    }

    /// An image out of `source`, wherever its bytes come from; `path` is for messages only.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn from_source(source: Arc<dyn Source>, path: &Path) -> Result<Self, ImageError> {
        let read = |source| ImageError::Read {
            path: path.to_owned(),
            source,
        };
        let kind = match probe::read(&*source).map_err(read)? {
            Probe::Sif => ImageKind::Sif(Sif::read(&*source)?),
            Probe::Squashfs { offset } => ImageKind::Squashfs { offset },
            Probe::Ext3 { offset } => ImageKind::Ext3 { offset },
            Probe::Unknown => return Err(ImageError::NotRecognized),
        };
        Ok(Self {
            path: path.to_owned(),
            file: None,
            source,
            kind,
        })
    }

    /// The same image with its bytes read through `source`, which has the same ones: a cache.
    #[must_use]
    pub fn through(mut self, source: Arc<dyn Source>) -> Self {
        self.source = source;
        self
    }

    /// The name it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file or directory; `None` for an image that is elsewhere.
    pub fn file(&self) -> Option<&File> {
        Some(self.file.as_ref()?.file())
    }

    /// All bytes of the file (none of a sandbox).
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source)
    }

    /// What it is.
    pub fn kind(&self) -> &ImageKind {
        &self.kind
    }

    /// The SIF, if it is one.
    pub fn sif(&self) -> Option<&Sif> {
        match &self.kind {
            ImageKind::Sif(sif) => Some(sif),
            ImageKind::Sandbox | ImageKind::Squashfs { .. } | ImageKind::Ext3 { .. } => None,
        }
    }

    /// Machine that the root's programs are for; only a SIF tells.
    pub fn arch(&self) -> Option<Arch> {
        match self.sif()?.primary()?.extra {
            Extra::Partition { arch, .. } => Some(arch),
            _ => None,
        }
    }

    /// Where the root file system starts in the file; 0 when there is none.
    pub fn offset(&self) -> u64 {
        match &self.kind {
            ImageKind::Sandbox => 0,
            ImageKind::Sif(sif) => sif.primary().map_or(0, |primary| primary.offset),
            ImageKind::Squashfs { offset } | ImageKind::Ext3 { offset } => *offset,
        }
    }

    /// Length of the root file system's part of the file; 0 when there is none.
    pub fn root_size(&self) -> u64 {
        match &self.kind {
            ImageKind::Sandbox => 0,
            ImageKind::Sif(sif) => sif.primary().map_or(0, |primary| primary.size),
            ImageKind::Squashfs { offset } | ImageKind::Ext3 { offset } => {
                self.source.size().saturating_sub(*offset)
            }
        }
    }

    /// The bytes of an object of this SIF.
    ///
    /// # Errors
    /// When `descriptor` is of another file.
    pub fn data_of(&self, descriptor: &Descriptor) -> Result<Window, ImageError> {
        sif::data_of(self.source(), descriptor).map_err(|source| ImageError::Read {
            path: self.path.clone(),
            source,
        })
    }

    /// Whether the image has a root file system that can be mounted; reads nothing.
    ///
    /// # Errors
    /// The [`ImageError`] that says why not.
    pub fn check_mountable(&self) -> Result<(), ImageError> {
        match &self.kind {
            ImageKind::Sandbox => Err(ImageError::Sandbox),
            ImageKind::Ext3 { .. } => Err(ImageError::Ext3),
            ImageKind::Squashfs { .. } => Ok(()),
            ImageKind::Sif(sif) => {
                let primary = sif.primary().ok_or(ImageError::NoRoot)?;
                match primary.extra {
                    Extra::Partition { fs, .. } => match fs {
                        FsType::Squashfs => Ok(()),
                        FsType::EncryptedSquashfs | FsType::GocryptfsSquashfs => {
                            Err(ImageError::Encrypted { fs })
                        }
                        FsType::Ext3 | FsType::Archive | FsType::Raw | FsType::Unknown(_) => {
                            Err(ImageError::RootFormat { fs })
                        }
                    },
                    _ => Err(ImageError::NoRoot),
                }
            }
        }
    }

    /// Opens the root file system.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn tree(&self, options: &SquashfsOptions) -> Result<Arc<dyn Tree>, ImageError> {
        Ok(Arc::new(self.squashfs(options)?))
    }

    /// As [`Image::tree`], with what only squashfs can tell.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn squashfs(&self, options: &SquashfsOptions) -> Result<Squashfs, ImageError> {
        self.check_mountable()?;
        let root = Window::new(self.source(), self.offset(), self.root_size());
        // Offset and size were checked against the file when it was opened.
        let root = root.ok_or(ImageError::NoRoot)?;
        Ok(Squashfs::open(Arc::new(root), *options)?)
    }
}
