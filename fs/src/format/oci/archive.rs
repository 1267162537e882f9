//! Archives that hold images: where their files are, found in one pass over the headers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::document::{OciImage, OciLayer};
use super::layout::{self, Files};
use super::platform::Platform;
use super::{Count, LayerBytes, OciError, Store};
use crate::temporary;

/// Entries of an archive that are remembered.
const MAX_ENTRIES: usize = 100_000;
/// Headers that are looked at.
const MAX_HEADERS: usize = 1_000_000;
/// Bytes of a long name or an extended header.
const MAX_SPECIAL: usize = 1 << 20;
const BLOCK: u64 = 512;
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
        Self::of_file(&path.display().to_string(), file)
    }

    /// The archive that `file` is, which is not packed.
    pub(super) fn of_file(name: &str, file: File) -> Result<Self, OciError> {
        let entries = entries(&file).map_err(|source| OciError::Read {
            what: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
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
    let mut unpacked = tempfile::tempfile_in(temporary::directory())?;
    io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut unpacked)?;
    unpacked.seek(SeekFrom::Start(0))?;
    Ok(unpacked)
}

/// What headers say of the entry that follows.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Ahead {
    fn extended(&mut self, bytes: &[u8]) -> io::Result<()> {
        for record in tar::PaxExtensions::new(bytes) {
            let record = record?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok();
                    let size = size.and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| damaged("a size that is no number"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where everything is. What is in between is not read, and of names only as much as names have.
fn entries(file: &File) -> io::Result<HashMap<String, Place>> {
    let length = file.metadata()?.len();
    let mut found = HashMap::new();
    let mut ahead = Ahead::default();
    let mut at = 0;
    for _ in 0..MAX_HEADERS {
        let Some(header) = header(file, at, length)? else {
            return Ok(found);
        };
        let offset = at.checked_add(BLOCK).ok_or_else(cut_off)?;
        let kind = header.entry_type();
        let size = ahead
            .size
            .filter(|_| kind.is_file())
            .map_or_else(|| header.entry_size(), Ok)?;
        let end = offset
            .checked_add(size)
            .filter(|end| *end <= length)
            .ok_or_else(cut_off)?;
        at = end.checked_next_multiple_of(BLOCK).ok_or_else(cut_off)?;
        let is_name = kind.is_gnu_longname() || kind.is_gnu_longlink();
        if is_name || kind.is_pax_local_extensions() {
            let bytes = special(file, offset, size)?;
            let text = || bytes.strip_suffix(&[0]).unwrap_or(&bytes).to_vec();
            if kind.is_gnu_longname() {
                ahead.name = Some(text());
            } else if kind.is_gnu_longlink() {
                ahead.link = Some(text());
            } else {
                ahead.extended(&bytes)?;
            }
            continue;
        }
        let ahead = std::mem::take(&mut ahead);
        let name = ahead
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let path = clean(&String::from_utf8_lossy(&name));
        let target = || {
            let target = ahead
                .link
                .or_else(|| Some(header.link_name_bytes()?.into_owned()))?;
            Some(String::from_utf8_lossy(&target).into_owned())
        };
        let place = if kind.is_file() {
            Place::File { offset, size }
        } else if kind.is_hard_link() {
            let Some(target) = target() else { continue };
            Place::Link(target)
        } else if kind.is_symlink() {
            let Some(target) = target() else { continue };
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            Place::Link(format!("{parent}/{target}"))
        } else {
            continue;
        };
        found.insert(path, place);
        if found.len() > MAX_ENTRIES {
            return Err(damaged(&format!("more than {MAX_ENTRIES} files")));
        }
    }
    Err(damaged(&format!("more than {MAX_HEADERS} entries")))
}

/// The header at `at`; `None` at the end.
fn header(file: &File, at: u64, length: u64) -> io::Result<Option<tar::Header>> {
    if at >= length {
        return Ok(None);
    }
    let mut header = tar::Header::new_old();
    file.read_exact_at(header.as_mut_bytes(), at)
        .map_err(|_| cut_off())?;
    if header.as_bytes().iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    // The sum is made with spaces where it stands.
    let bytes = header.as_bytes().iter().enumerate();
    let sum: u32 = bytes
        .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    if header.cksum().ok() != Some(sum) {
        return Err(damaged("a header whose sum is wrong"));
    }
    Ok(Some(header))
}

/// A long name, or an extended header.
fn special(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size <= MAX_SPECIAL);
    let size = size.ok_or_else(|| damaged("a header that is longer than any name"))?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off")
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
