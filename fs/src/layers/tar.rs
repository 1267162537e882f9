//! The layers of registries: tar archives.
//!
//! A parser of our own: the file formats are a few tables, whereas what matters is what happens with
//! archives that were made to do harm, or by programs that disagree about the formats. Where those
//! disagree it does as Go's `archive/tar`, which all container tools use.

mod content;
mod header;
mod numbers;
mod path;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};

use super::entry::{Entry, Layer, LayerError, Visit};
use super::limits::Limits;
use content::Content;
use reader::Reader;

pub use path::{PathError, clean};

/// A layer that is a tar archive, already inflated.
pub struct TarLayer {
    name: String,
    reader: Reader,
}

impl fmt::Debug for TarLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TarLayer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why an entry cannot be used: the archive is damaged, or says what cannot be.
#[derive(Debug)]
enum Failure {
    Read(io::Error),
    Entry { path: Vec<u8>, reason: String },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Failure {
    fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry {
            path: path.to_vec(),
            reason: reason.into(),
        }
    }

    fn of(self, layer: &str) -> LayerError {
        match self {
            Self::Read(source) => LayerError::Read {
                layer: layer.to_owned(),
                source,
            },
            Self::Entry { path, reason } => LayerError::Entry {
                layer: layer.to_owned(),
                path: shown(&path),
                reason,
            },
        }
    }
}

impl TarLayer {
    /// The archive that `reader` yields. Everything is read to the end of `reader`, behind the end of
    /// the archive as well, so that a digest it checks is that of the whole.
    pub fn new(name: impl Into<String>, reader: Box<dyn Read + Send>, limits: Limits) -> Self {
        Self {
            name: name.into(),
            reader: Reader::new(reader, limits),
        }
    }
}

impl Layer for TarLayer {
    fn name(&self) -> &str {
        &self.name
    }

    fn visit(&mut self, visit: &mut Visit<'_>) -> Result<(), LayerError> {
        let name = &self.name;
        while let Some(member) = self.reader.next().map_err(|failure| failure.of(name))? {
            let mut content = Content::new(&mut self.reader, member.data);
            if let Some(entry) = member.entry {
                visit(entry, &mut content)?;
            }
            content
                .skip_rest()
                .map_err(|source| Failure::Read(source).of(name))?;
        }
        self.reader
            .drain()
            .map_err(|source| Failure::Read(source).of(name))
    }
}

/// A path for messages: printable, and not too long.
pub(crate) fn shown(path: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = &path[..path.len().min(MOST)];
    let mut text: String = String::from_utf8_lossy(cut)
        .chars()
        .flat_map(|char| {
            if char.is_control() {
                char.escape_default().collect::<Vec<_>>()
            } else {
                vec![char]
            }
        })
        .collect();
    if cut.len() < path.len() {
        text.push('…');
    }
    text
}

/// One member of an archive as the parser leaves it.
#[derive(Debug)]
struct Member {
    /// What it says; nothing for names that are reserved.
    entry: Option<Entry>,
    /// Where its content lies.
    data: content::Data,
}
