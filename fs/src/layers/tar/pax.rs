//! Extended headers: what does not fit a header block.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::numbers::seconds;
use super::sparse::Hole;
use crate::pack::Xattr;

/// What extended headers say about the member that follows.
#[derive(Default, Debug)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: Sparse,
}

/// What they say about holes, in three dialects.
#[derive(Default, Debug)]
pub(super) struct Sparse {
    /// `GNU.sparse.major` is 1: the map lies before the content.
    pub(super) in_content: bool,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// The map of the older dialects.
    pub(super) map: Vec<Hole>,
    pub(super) is_sparse: bool,
    pending: Option<u64>,
}

/// Why the header is of no use.
pub(super) type Reason = &'static str;

const LONGEST_MAP: usize = 1 << 18;

/// Linux lists at most 64 KiB of their names.
const MAX_XATTRS: usize = 1000;

impl Extended {
    /// Adds the records of one header.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or("damaged extended header")?;
            bytes = rest;
            self.set(key, value)?;
        }
        if self.sparse.pending.is_some() {
            return Err("damaged map of holes");
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.xattr(name.to_vec(), value.to_vec(), true);
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = percent(name).ok_or("damaged name of an extended attribute")?;
            let bare = value.strip_suffix(b"=").unwrap_or(value);
            let bare = bare.strip_suffix(b"=").unwrap_or(bare);
            let value = STANDARD
                .decode(value)
                .or_else(|_| STANDARD_NO_PAD.decode(bare))
                .map_err(|_| "damaged value of an extended attribute")?;
            return self.xattr(name, value, false);
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.set(key, value);
        }
        // An empty value takes back what an earlier header said.
        let is_set = !value.is_empty();
        match key {
            b"path" | b"linkpath" if value.contains(&0) => return Err("the name has a NUL byte"),
            b"path" => self.path = is_set.then(|| value.to_vec()),
            b"linkpath" => self.link = is_set.then(|| value.to_vec()),
            b"size" if is_set => self.size = Some(decimal(value).ok_or("damaged size")?),
            b"uid" if is_set => self.uid = Some(owner(value).ok_or("damaged user id")?),
            b"gid" if is_set => self.gid = Some(owner(value).ok_or("damaged group id")?),
            b"mtime" if is_set => self.mtime = Some(seconds(value).ok_or("damaged time")?),
            _ => {}
        }
        Ok(())
    }

    /// Both dialects may tell of the same attribute; the plainer one counts.
    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>, plain: bool) -> Result<(), Reason> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > 65_536 {
            return Err("an extended attribute that no file can have");
        }
        let is_full = self.xattrs.len() >= MAX_XATTRS;
        match self.xattrs.iter_mut().find(|(old, _)| **old == *name) {
            Some((_, old)) if plain => *old = value.into(),
            Some(_) => {}
            None if is_full => {
                return Err("more extended attributes than a file can have");
            }
            None => self.xattrs.push((name.into(), value.into())),
        }
        Ok(())
    }
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        const WRONG: Reason = "damaged map of holes";
        self.is_sparse = true;
        match key {
            b"major" => self.in_content = decimal(value).ok_or(WRONG)? >= 1,
            b"name" => {
                if value.contains(&0) {
                    return Err("the name has a NUL byte");
                }
                self.name = Some(value.to_vec());
            }
            b"realsize" | b"size" => self.size = Some(decimal(value).ok_or(WRONG)?),
            // Version 0.0: one record for each number.
            b"offset" => {
                let offset = decimal(value).ok_or(WRONG)?;
                if self.pending.replace(offset).is_some() {
                    return Err(WRONG);
                }
            }
            b"numbytes" => {
                let offset = self.pending.take().ok_or(WRONG)?;
                self.push(offset, decimal(value).ok_or(WRONG)?)?;
            }
            // Version 0.1: all in one.
            b"map" => {
                self.map.clear();
                let mut numbers = value.split(|&byte| byte == b',');
                while let Some(offset) = numbers.next() {
                    let length = numbers.next().ok_or(WRONG)?;
                    let offset = decimal(offset).ok_or(WRONG)?;
                    self.push(offset, decimal(length).ok_or(WRONG)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), Reason> {
        if self.map.len() >= LONGEST_MAP {
            return Err("a map with too many holes");
        }
        self.map.push(Hole { offset, length });
        Ok(())
    }
}

/// `length key=value\n` at the start of `bytes`, and what is behind it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let body = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    (!key.is_empty()).then_some((key, value, &bytes[length..]))
}

/// Digits alone.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn owner(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn percent(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, behind)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            out.push(byte);
            rest = behind;
        }
    }
    Some(out)
}
