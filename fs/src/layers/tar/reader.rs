//! From blocks to members.

use std::io::{self, Read};
use std::sync::Arc;

use super::content::Data;
use super::header::{BLOCK, Format, Header, text};
use super::numbers::device;
use super::path::{PATH_MOST, clean};
use super::pax::{Extended, decimal};
use super::sparse::{self, Hole};
use super::{Failure, Member};
use crate::layers::entry::{Entry, EntryKind};
use crate::layers::limits::Limits;
use crate::layers::whiteout::{Named, named};
use crate::pack::{Metadata, Xattr};

/// Reads members one after the other.
pub(super) struct Reader {
    input: Box<dyn Read + Send>,
    limits: Limits,
    entries: u64,
    unpacked: u64,
    /// Bytes of long names and extended attributes.
    headers: u64,
    no_xattrs: Arc<[Xattr]>,
}

/// What headers before a member say about it.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    extended: Extended,
    any: bool,
}

/// A member whose name, link and content are known.
struct Found {
    header: Header,
    name: Vec<u8>,
    link: Vec<u8>,
    size: u64,
    extended: Extended,
}

pub(super) fn cut_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the archive is cut off: it ends within an entry",
    )
}

fn damaged(what: &str) -> Failure {
    Failure::Read(io::Error::new(io::ErrorKind::InvalidData, what))
}

impl Reader {
    pub(super) fn new(input: Box<dyn Read + Send>, limits: Limits) -> Self {
        Self {
            input,
            limits,
            entries: 0,
            unpacked: 0,
            headers: 0,
            no_xattrs: Arc::from([]),
        }
    }

    /// The next member; its content follows.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Failure> {
        let mut ahead = Ahead::default();
        loop {
            let Some(header) = self.header()? else {
                return if ahead.any {
                    Err(damaged(
                        "the archive ends behind a header that announces an entry",
                    ))
                } else {
                    Ok(None)
                };
            };
            match header.kind() {
                b'L' => {
                    ahead.name = Some(text(&self.special(&header)?).to_vec());
                    ahead.any = true;
                }
                b'K' => {
                    ahead.link = Some(text(&self.special(&header)?).to_vec());
                    ahead.any = true;
                }
                b'x' => {
                    let bytes = self.special(&header)?;
                    ahead
                        .extended
                        .add(&bytes)
                        .map_err(|reason| Failure::entry(&header.name(), reason))?;
                    ahead.any = true;
                }
                // Of all members together: comments of git, nothing that a file system has.
                b'g' => {
                    self.special(&header)?;
                }
                _ => return self.member(&Self::found(header, ahead)?).map(Some),
            }
        }
    }

    /// Reads what is behind the end of the archive, so that the digest of the whole is known.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.input, &mut io::sink()).map(drop)
    }

    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.as_mut().take(bytes), &mut io::sink())?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(cut_off())
        }
    }

    /// Skips what fills a member's last block. The archive may end there: umoci leaves it out.
    pub(super) fn skip_padding(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut self.input.as_mut().take(bytes), &mut io::sink()).map(drop)
    }

    /// A header; `None` at the end: two blocks of zeros, or one, or none.
    fn header(&mut self) -> Result<Option<Header>, Failure> {
        let Some(header) = self.block()? else {
            return Ok(None);
        };
        if header.is_zero() {
            return match self.block()? {
                Some(second) if !second.is_zero() => {
                    Err(damaged("the archive has an empty header between others"))
                }
                _ => Ok(None),
            };
        }
        if header.is_sound() {
            Ok(Some(header))
        } else {
            Err(damaged(
                "this is no tar archive, or a damaged one: the checksum of a header is wrong",
            ))
        }
    }

    fn block(&mut self) -> Result<Option<Header>, Failure> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut_off().into()),
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Header(block)))
    }

    /// The content of a header that is about another one.
    fn special(&mut self, header: &Header) -> Result<Vec<u8>, Failure> {
        let size = header
            .size()
            .ok_or_else(|| Failure::entry(&header.name(), "damaged size"))?;
        if size > self.limits.header {
            return Err(Failure::entry(
                &header.name(),
                format!("an extended header of {size} bytes, which is too long"),
            ));
        }
        self.headers = self.headers.saturating_add(size);
        if self.headers > self.limits.headers {
            return Err(damaged(
                "its long names and extended attributes take more memory than any image needs",
            ));
        }
        let mut bytes = Vec::new();
        self.input.as_mut().take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(cut_off().into());
        }
        self.skip(padding(size))?;
        Ok(bytes)
    }

    fn found(header: Header, mut ahead: Ahead) -> Result<Found, Failure> {
        let extended = &mut ahead.extended;
        let name = ahead
            .name
            .filter(|name| !name.is_empty())
            .or(extended.sparse.name.take())
            .or(extended.path.take())
            .unwrap_or_else(|| header.name());
        let link = ahead
            .link
            .filter(|link| !link.is_empty())
            .or(extended.link.take())
            .unwrap_or_else(|| header.link());
        let size = match extended.size {
            Some(size) => size,
            None => header
                .size()
                .ok_or_else(|| Failure::entry(&name, "damaged size"))?,
        };
        Ok(Found {
            header,
            name,
            link,
            size,
            extended: ahead.extended,
        })
    }

    fn member(&mut self, found: &Found) -> Result<Member, Failure> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(damaged(&format!("more than {most} entries")));
        }
        let wrong = |reason: String| Failure::entry(&found.name, reason);
        let path = clean(&found.name).map_err(|error| wrong(error.to_string()))?;
        let metadata = self.metadata(found)?;
        let mut data = Data::NONE;
        let kind = match found.header.kind() {
            0 if found.name.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => {
                data = self.data(found)?;
                EntryKind::File { size: data.size }
            }
            b'1' => EntryKind::HardLink {
                target: clean(&found.link)
                    .map_err(|error| wrong(format!("its target: {error}")))?,
            },
            b'2' => EntryKind::Symlink {
                target: symlink(found)?,
            },
            b'3' => EntryKind::CharDevice(number_of_device(found)?),
            b'4' => EntryKind::BlockDevice(number_of_device(found)?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                return Err(wrong(format!(
                    "an entry of unknown kind '{}'",
                    other.escape_ascii()
                )));
            }
        };
        let (path, kind) = match named(&path) {
            Named::File => (path, kind),
            Named::Hidden(path, kind) => (path, kind),
            Named::Reserved => return Ok(Member { entry: None, data }),
            Named::Nothing => return Err(wrong("this whiteout names no file".into())),
        };
        let entry = Some(Entry {
            path,
            kind,
            metadata,
        });
        Ok(Member { entry, data })
    }

    fn metadata(&self, found: &Found) -> Result<Metadata, Failure> {
        let wrong = |what: &str| Failure::entry(&found.name, what);
        let (header, extended) = (&found.header, &found.extended);
        let id = |id: Option<i64>, what: &str| {
            let id = id.ok_or_else(|| wrong(what))?;
            u32::try_from(id).map_err(|_| wrong(what))
        };
        let mut xattrs = extended.xattrs.clone();
        xattrs.sort();
        Ok(Metadata {
            permissions: u32::try_from(
                header.mode().ok_or_else(|| wrong("damaged mode"))? & 0o7777,
            )
            .unwrap_or(0),
            uid: id(extended.uid.or_else(|| header.uid()), "its user id is none")?,
            gid: id(
                extended.gid.or_else(|| header.gid()),
                "its group id is none",
            )?,
            mtime: extended
                .mtime
                .or_else(|| header.mtime())
                .ok_or_else(|| wrong("damaged time"))?,
            xattrs: if xattrs.is_empty() {
                Arc::clone(&self.no_xattrs)
            } else {
                xattrs.into()
            },
        })
    }

    /// Where the content of a regular file lies, and how long the file is.
    fn data(&mut self, found: &Found) -> Result<Data, Failure> {
        let wrong = |reason: &str| Failure::entry(&found.name, reason);
        let sparse = &found.extended.sparse;
        let (mut stored, padding) = (found.size, padding(found.size));
        let map = if found.header.kind() == b'S' {
            if found.header.format() != Format::Gnu {
                return Err(wrong(
                    "a file with holes in an archive that cannot have one",
                ));
            }
            let (map, size) = self.old_gnu_map(found)?;
            Some((map, size))
        } else if sparse.is_sparse && sparse.in_content {
            let (map, read) = self.leading_map(found)?;
            stored = found
                .size
                .checked_sub(read)
                .ok_or_else(|| wrong("damaged map of holes"))?;
            let size = sparse
                .size
                .ok_or_else(|| wrong("a file with holes without a size"))?;
            Some((map, size))
        } else if sparse.is_sparse && !sparse.map.is_empty() {
            let size = sparse
                .size
                .ok_or_else(|| wrong("a file with holes without a size"))?;
            Some((sparse.map.clone(), size))
        } else {
            None
        };
        let (size, pieces) = match map {
            None => (stored, None),
            Some((map, size)) => {
                let pieces = sparse::checked(&map, size, stored).map_err(wrong)?;
                (size, Some(pieces))
            }
        };
        self.unpacked = self.unpacked.saturating_add(size);
        if self.unpacked > self.limits.unpacked {
            return Err(wrong(&format!(
                "with this file of {size} bytes the layer is larger than {} bytes",
                self.limits.unpacked
            )));
        }
        Ok(Data {
            stored,
            padding,
            size,
            pieces,
        })
    }

    fn old_gnu_map(&mut self, found: &Found) -> Result<(Vec<Hole>, u64), Failure> {
        let wrong = || Failure::entry(&found.name, "damaged map of holes");
        let (mut map, mut more, size) = sparse::old_gnu(&found.header.0).ok_or_else(wrong)?;
        while more {
            let block = self.block()?.ok_or_else(cut_off)?;
            let (pieces, again) = sparse::more_gnu(&block.0).ok_or_else(wrong)?;
            map.extend(pieces);
            more = again;
            if map.len() > LONGEST_MAP {
                return Err(wrong());
            }
        }
        Ok((map, size))
    }

    /// The map that lies before the content: decimal numbers, one a line, padded to blocks. With it
    /// goes how many bytes it took.
    fn leading_map(&mut self, found: &Found) -> Result<(Vec<Hole>, u64), Failure> {
        let wrong = || Failure::entry(&found.name, "damaged map of holes");
        let mut read = 0_u64;
        let mut line = Vec::new();
        let mut numbers = Vec::new();
        let mut wanted = 1_usize;
        while numbers.len() < wanted {
            if read >= found.size {
                return Err(wrong());
            }
            let block = self.block()?.ok_or_else(cut_off)?;
            read += BLOCK as u64;
            for &byte in &block.0 {
                if numbers.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(wrong());
                    }
                    continue;
                }
                let number = decimal(&line).ok_or_else(wrong)?;
                line.clear();
                if numbers.is_empty() {
                    let pairs = usize::try_from(number).ok().filter(|&n| n <= LONGEST_MAP);
                    wanted = 1 + 2 * pairs.ok_or_else(wrong)?;
                }
                numbers.push(number);
            }
        }
        let map = numbers[1..]
            .chunks_exact(2)
            .map(|pair| Hole {
                offset: pair[0],
                length: pair[1],
            })
            .collect();
        Ok((map, read))
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

const LONGEST_MAP: usize = 1 << 18;

/// Bytes from `size` to the next block.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn symlink(found: &Found) -> Result<Vec<u8>, Failure> {
    let wrong = |reason| Failure::entry(&found.name, reason);
    match found.link.len() {
        0 => Err(wrong("a symbolic link without a target")),
        length if length > PATH_MOST => Err(wrong(
            "a symbolic link with a target of more than 4095 bytes",
        )),
        _ => Ok(found.link.clone()),
    }
}

fn number_of_device(found: &Found) -> Result<u32, Failure> {
    found
        .header
        .device()
        .and_then(|(major, minor)| device(major, minor))
        .ok_or_else(|| Failure::entry(&found.name, "its device number is none"))
}
