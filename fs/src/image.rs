//! What a file or directory that the user names is, and the tree it holds.
//!
//! Kinds are tried in Apptainer's order: directory, SIF, squashfs, ext3. A file that claims to be
//! a SIF is not tried as anything else. Names do not matter.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypt::{KeyError, PrivateKey};
use crate::format::gocryptfs::{self, ContentKey, GocryptfsError};
use crate::format::probe::{self, Probe};
use crate::format::sif::{
    self, Arch, DataType, Descriptor, Extra, FsType, Link, MessageFormat, MessageType, Sif,
    SifError,
};
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
    #[error("required option --passphrase or --pem-path missing")]
    Encrypted,
    /// The root partition is encrypted in a way that only the kernel decrypts.
    #[error(
        "the root partition is encrypted for the kernel's device mapper (LUKS), which skiff does \
         not use; build the image as an ordinary user, which encrypts it with gocryptfs"
    )]
    Luks,
    /// The key does not fit, or what it should open is damaged.
    #[error(transparent)]
    Locked(#[from] GocryptfsError),
    /// There is nothing in the image for the private key.
    #[error(
        "could not get encryption information from SIF: could not read LUKS key from {path}: \
         encrypted key not found",
        path = path.display()
    )]
    NoMessage {
        /// The image.
        path: PathBuf,
    },
    /// The private key is not the image's.
    #[error(transparent)]
    Key(#[from] KeyError),
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
    /// What opens an encrypted root.
    key: Option<ContentKey>,
}

/// The most that a message with a key takes.
const MESSAGE_MAX: u64 = 64 * 1024;

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
                key: None,
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
            key: None,
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
                        FsType::GocryptfsSquashfs if self.key.is_some() => Ok(()),
                        FsType::GocryptfsSquashfs => Err(ImageError::Encrypted),
                        FsType::EncryptedSquashfs => Err(ImageError::Luks),
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
        match &self.key {
            Some(key) => {
                let content = gocryptfs::open(self.outer()?, key)?;
                Ok(Squashfs::open(content, *options)?)
            }
            None => self.partition(*options),
        }
    }

    /// The root file system as it lies in the file, whatever is in it.
    fn partition(&self, options: SquashfsOptions) -> Result<Squashfs, ImageError> {
        let root = Window::new(self.source(), self.offset(), self.root_size());
        // Offset and size were checked against the file when it was opened.
        let root = root.ok_or(ImageError::NoRoot)?;
        Ok(Squashfs::open(Arc::new(root), options)?)
    }

    /// The tree around an encrypted root.
    fn outer(&self) -> Result<Arc<dyn Tree>, ImageError> {
        // What is stored as it is need not be kept as well; its readers keep what they decode.
        let options = SquashfsOptions {
            metadata_cache_bytes: 4 << 20,
            data_cache_bytes: 4 << 20,
        };
        Ok(Arc::new(self.partition(options)?))
    }

    /// Whether the root file system is encrypted.
    pub fn is_encrypted(&self) -> bool {
        let fs = self.sif().and_then(Sif::primary).map(|it| &it.extra);
        matches!(
            fs,
            Some(Extra::Partition {
                fs: FsType::GocryptfsSquashfs | FsType::EncryptedSquashfs,
                ..
            })
        )
    }

    /// Opens an encrypted root with `secret`; the image can be mounted then. It takes time.
    ///
    /// # Errors
    /// [`ImageError::Locked`], when the secret is another; [`ImageError::Luks`].
    pub fn unlock(&mut self, secret: &[u8]) -> Result<(), ImageError> {
        match self.check_mountable() {
            Err(ImageError::Encrypted) => {}
            other => return other,
        }
        self.key = Some(gocryptfs::unlock(&*self.outer()?, secret)?);
        Ok(())
    }

    /// The secret that was left in the image for the owner of `key`.
    ///
    /// # Errors
    /// There is none, or it is for another key.
    pub fn secret_for(&self, key: &PrivateKey) -> Result<Vec<u8>, ImageError> {
        let primary = self.sif().and_then(Sif::primary);
        let primary = primary.ok_or(ImageError::NoRoot)?.id;
        let is_ours = |it: &&Descriptor| {
            it.data_type == DataType::Message
                && it.link == Link::Object(primary)
                && it.size <= MESSAGE_MAX
                && it.extra
                    == Extra::Message {
                        format: MessageFormat::Pem,
                        kind: MessageType::RsaOaep,
                    }
        };
        let message = self
            .sif()
            .and_then(|sif| sif.descriptors.iter().find(is_ours))
            .ok_or_else(|| ImageError::NoMessage {
                path: self.path.clone(),
            })?;
        let data = self.data_of(message)?;
        let mut text = vec![0; usize::try_from(message.size).unwrap_or(0)];
        data.read_exact_at(&mut text, 0)
            .map_err(|source| ImageError::Read {
                path: self.path.clone(),
                source,
            })?;
        Ok(key.open(&text)?)
    }

    /// The same image, opened with a key that [`Image::unlock`] found.
    #[must_use]
    pub fn with_content_key(mut self, key: Option<ContentKey>) -> Self {
        self.key = key;
        self
    }

    /// The key that [`Image::unlock`] found.
    pub fn content_key(&self) -> Option<&ContentKey> {
        self.key.as_ref()
    }
}
