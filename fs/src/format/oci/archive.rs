//! Archives that hold images: where their files are, found in one pass over the headers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{OciImage, OciLayer};
use super::layout::{self, Files};
use super::platform::Platform;
use super::{Count, LayerBytes, OciError, Store};

/// Entries of an archive that are remembered.
const MAX_ENTRIES: usize = 100_000;
/// Links that are followed from one name.
const MAX_LINKS: usize = 16;
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// An archive whose files can be opened by name.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    file: Arc<File>,
    entries: HashMap<String, Place>,
}

#[derive(Debug)]
enum Place {
    File { offset: u64, size: u64 },
    Link(String),
}

/// An image of a layout in an archive.
#[derive(Debug)]
pub struct OciArchive {
    archive: Archive,
    wanted: Option<String>,
}

impl OciArchive {
    /// The layout in the archive that `text` names: `FILE`, `FILE@sha256:…` or `FILE:TAG`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(text: &str) -> Result<Self, OciError> {
        let (path, wanted) = layout::split(text);
        Ok(Self {
            archive: Archive::open(&path)?,
            wanted,
        })
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.archive.has(path)
    }

    pub(super) fn of(archive: Archive) -> Self {
        Self {
            archive,
            wanted: None,
        }
    }
}

impl Store for OciArchive {
    fn name(&self) -> String {
        format!("oci-archive:{}", self.archive.name())
    }

    fn image(&self, platform: &Platform) -> Result<OciImage, OciError> {
        layout::image(
            &self.archive,
            &self.name(),
            self.wanted.as_deref(),
            platform,
        )
    }

    fn open(&self, layers: &[&OciLayer], _: Count) -> Result<Vec<LayerBytes>, OciError> {
        layout::open(&self.archive, layers)
    }
}

impl Archive {
    /// Opens the archive at `path`. One that is packed by gzip is unpacked to a file without a name.
    pub(super) fn open(path: &Path) -> Result<Self, OciError> {
        let failed = |source| OciError::Read {
            what: path.display().to_string(),
            source,
        };
        let file = plain(path).map_err(failed)?;
        let entries = entries(&file).map_err(failed)?;
        Ok(Self {
            name: path.display().to_string(),
            file: Arc::new(file),
            entries,
        })
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// Where the bytes of a file are, through links.
    fn find(&self, path: &str) -> Option<(u64, u64)> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.entries.get(&clean(&path))? {
                Place::File { offset, size } => return Some((*offset, *size)),
                Place::Link(target) => path.clone_from(target),
            }
        }
        None
    }

    pub(super) fn size_of(&self, path: &str) -> Option<u64> {
        self.find(path).map(|(_, size)| size)
    }
}

impl Files for Archive {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&self, path: &str) -> Result<(LayerBytes, u64), OciError> {
        let (offset, size) = self.find(path).ok_or_else(|| {
            OciError::unusable(&self.name, format!("there is no file {path} in it"))
        })?;
        let reader = Part {
            file: Arc::clone(&self.file),
            at: offset,
            end: offset.saturating_add(size),
        };
        Ok((Box::new(reader), size))
    }
}

/// A part of a file, read without moving anybody else's place.
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..length).filter(|it| !it.is_empty()) else {
            return Ok(0);
        };
        match self.file.read_at(buffer, self.at)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.at = self.at.saturating_add(count as u64);
                Ok(count)
            }
        }
    }
}

fn plain(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut start = [0; 2];
    let packed = file.read(&mut start)? == 2 && start == GZIP;
    file.seek(SeekFrom::Start(0))?;
    if !packed {
        return Ok(file);
    }
    let directory = ["APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"]
        .iter()
        .find_map(std::env::var_os)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let mut unpacked = tempfile::tempfile_in(directory)?;
    io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut unpacked)?;
    unpacked.seek(SeekFrom::Start(0))?;
    Ok(unpacked)
}

fn entries(file: &File) -> io::Result<HashMap<String, Place>> {
    let length = file.metadata()?.len();
    let mut found = HashMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if found.len() >= MAX_ENTRIES {
            let reason = format!("more than {MAX_ENTRIES} files");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let path = clean(&String::from_utf8_lossy(&entry.path_bytes()));
        let target = || {
            let target = entry.link_name_bytes()?;
            Some(String::from_utf8_lossy(&target).into_owned())
        };
        let place = match entry.header().entry_type() {
            kind if kind.is_file() => {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the archive ends within a file",
                    ));
                }
                Place::File { offset, size }
            }
            kind if kind.is_hard_link() => match target() {
                Some(target) => Place::Link(target),
                None => continue,
            },
            kind if kind.is_symlink() => match target() {
                Some(target) => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    Place::Link(format!("{parent}/{target}"))
                }
                None => continue,
            },
            _ => continue,
        };
        found.insert(path, place);
    }
    Ok(found)
}

/// A path without `.`, `..` and superfluous slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
