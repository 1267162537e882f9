//! Content that nobody will see, unless a hard link that is still to come wants it: kept until its
//! layer ends.
//!
//! Layers come as streams and cannot be read twice. Usually nothing is ever asked for here, so little
//! is done with it: some is kept in memory, the rest in a file without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};

/// Kept in memory, of one layer.
const MEMORY: usize = 64 << 20;
/// From here on compressing is worth starting.
const LARGE: u64 = 256 << 10;

/// Contents of one layer.
#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    written: u64,
    contents: Vec<Kept>,
    /// By the last part of the paths that lead to them.
    by_name: HashMap<Box<[u8]>, Vec<usize>>,
}

/// One content.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// In the memory or, behind its end, in the file.
    at: u64,
    stored: u64,
    size: u64,
    is_packed: bool,
    /// Number of the layer's record that it belongs to; nothing when it has been taken.
    record: Option<usize>,
}

/// Why a content was not kept.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be read.
    Read(io::Error),
    /// There is no room for it.
    Room(io::Error),
}

impl Spool {
    /// Forgets everything: another layer begins.
    pub(super) fn clear(&mut self) {
        self.memory.clear();
        self.contents.clear();
        self.by_name.clear();
        self.written = 0;
        if let Some(file) = &self.file
            && file.set_len(0).is_err()
        {
            self.file = None;
        }
    }

    /// Whether a content can be taken in: there is memory left, or a directory for temporary files.
    pub(super) fn has_room(&mut self, size: u64) -> bool {
        let most = size + size / 64 + 1024;
        if self.file.is_some() || self.memory.len() as u64 + most <= MEMORY as u64 {
            return true;
        }
        self.file = temporary().ok();
        self.file.is_some()
    }

    /// Keeps the content of the record with this number.
    pub(super) fn keep(
        &mut self,
        name: &[u8],
        record: usize,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Failure> {
        let at = self.memory.len() as u64 + self.written;
        let is_packed = size >= LARGE;
        let mut store = Store { spool: self };
        let copied = if is_packed {
            zstd::stream::write::Encoder::new(&mut store, 1)
                .map_err(Failure::Room)
                .and_then(|mut encoder| {
                    let copied = copy(content, &mut encoder)?;
                    encoder.finish().map_err(Failure::Room)?;
                    Ok(copied)
                })?
        } else {
            copy(content, &mut store)?
        };
        if copied != size {
            return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let end = self.memory.len() as u64 + self.written;
        self.by_name
            .entry(name.into())
            .or_default()
            .push(self.contents.len());
        self.contents.push(Kept {
            at,
            stored: end - at,
            size,
            is_packed,
            record: Some(record),
        });
        Ok(())
    }

    /// Another name by which contents may be wanted: that of a hidden hard link.
    pub(super) fn alias(&mut self, name: &[u8], target: &[u8]) {
        if name == target {
            return;
        }
        if let Some(contents) = self.by_name.get(target).cloned() {
            self.by_name
                .entry(name.into())
                .or_default()
                .extend(contents);
        }
    }

    /// Hands all contents of this name to `take`, with the record that each belongs to.
    pub(super) fn give<E>(
        &mut self,
        name: &[u8],
        mut take: impl FnMut(usize, u64, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        for number in self.by_name.get(name).cloned().unwrap_or_default() {
            let Some(record) = self.contents[number].record.take() else {
                continue;
            };
            let kept = self.contents[number];
            let mut stored = Stored {
                spool: self,
                at: kept.at,
                left: kept.stored,
            };
            if kept.is_packed {
                let mut broken;
                let mut decoder;
                let content: &mut dyn Read = match zstd::stream::read::Decoder::new(&mut stored) {
                    Ok(made) => {
                        decoder = made;
                        &mut decoder
                    }
                    // Told by whoever reads it.
                    Err(error) => {
                        broken = Broken(Some(error));
                        &mut broken
                    }
                };
                take(record, kept.size, content)?;
            } else {
                take(record, kept.size, &mut stored)?;
            }
        }
        Ok(())
    }
}

/// Writes behind what is there.
struct Store<'a> {
    spool: &'a mut Spool,
}

impl Write for Store<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let spool = &mut *self.spool;
        if spool.written == 0 && spool.memory.len() + bytes.len() <= MEMORY {
            spool.memory.extend_from_slice(bytes);
        } else {
            let file = match &mut spool.file {
                Some(file) => file,
                none => none.insert(temporary()?),
            };
            file.write_all_at(bytes, spool.written)?;
            spool.written += bytes.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from what is there.
struct Stored<'a> {
    spool: &'a Spool,
    at: u64,
    left: u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let memory = usize::try_from(self.at)
            .ok()
            .and_then(|at| self.spool.memory.get(at..))
            .filter(|rest| !rest.is_empty());
        let got = match (memory, &self.spool.file) {
            (Some(rest), _) => {
                let got = rest.len().min(most);
                buffer[..got].copy_from_slice(&rest[..got]);
                got
            }
            (None, Some(file)) => {
                let at = self.at - self.spool.memory.len() as u64;
                file.read_at(&mut buffer[..most], at)?
            }
            (None, None) => 0,
        };
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// A content that cannot be read.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::Other.into()))
    }
}

/// Copies to the end, telling the two kinds of failures apart.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<u64, Failure> {
    let mut buffer = vec![0; 64 << 10];
    let mut copied = 0;
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Read(error)),
        };
        to.write_all(&buffer[..got]).map_err(Failure::Room)?;
        copied += got as u64;
    }
}

/// A file in the directory for temporary files that has no name there.
fn temporary() -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?;
    Ok(file.into())
}
