//! Extended attributes: sets that inodes share, values that sets share.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pack::Xattr;

use super::metadata::{self, MetadataPacker, Stream};

/// Number of an inode without attributes.
pub(super) const NONE: u32 = u32::MAX;

/// The value is a reference to where it is stored.
const OUT_OF_LINE: u16 = 0x0100;
const REFERENCE_LEN: usize = 8;

/// What Linux can be asked for.
const VALUE_MAX: usize = 65_536;

/// All attributes.
#[derive(Debug)]
pub(super) struct Xattrs {
    compress: bool,
    stream: Stream,
    /// Records of the id table, 16 bytes each.
    records: Vec<u8>,
    count: u32,
    sets: HashMap<Arc<[Xattr]>, u32>,
    /// The same by address, which is faster.
    seen: HashMap<usize, u32>,
    values: HashMap<Box<[u8]>, u64>,
}

impl Xattrs {
    pub(super) fn new(compress: bool) -> Self {
        Self {
            compress,
            stream: Stream::new(compress),
            records: Vec::new(),
            count: 0,
            sets: HashMap::new(),
            seen: HashMap::new(),
            values: HashMap::new(),
        }
    }

    /// The number of `set`, which is written when it is new. `set` lives as long as the tree.
    pub(super) fn number(&mut self, packer: &mut MetadataPacker, set: &Arc<[Xattr]>) -> u32 {
        if set.is_empty() {
            return NONE;
        }
        let address = set.as_ptr().addr();
        if let Some(number) = self.seen.get(&address) {
            return *number;
        }
        let number = match self.sets.get(set) {
            Some(number) => *number,
            None => self.write(packer, set),
        };
        self.seen.insert(address, number);
        self.sets.insert(Arc::clone(set), number);
        number
    }

    fn write(&mut self, packer: &mut MetadataPacker, set: &[Xattr]) -> u32 {
        let place = self.stream.place();
        let (mut count, mut len): (u32, usize) = (0, 0);
        for (name, value) in set {
            // squashfs has no place for others, such as ACLs' own names.
            let Some((kind, rest)) = split(name) else {
                continue;
            };
            let rest_len = u16::try_from(rest.len()).ok().filter(|len| *len > 0);
            let (Some(rest_len), true) = (rest_len, value.len() <= VALUE_MAX) else {
                continue;
            };
            count += 1;
            len += name.len() + 1 + value.len();
            let known = self.values.get(value).copied();
            let kind = kind | known.map_or(0, |_| OUT_OF_LINE);
            let mut entry = kind.to_le_bytes().to_vec();
            entry.extend_from_slice(&rest_len.to_le_bytes());
            entry.extend_from_slice(rest);
            self.stream.write(packer, &entry);
            let here = self.stream.place().reference();
            let stored = known.map(u64::to_le_bytes);
            let stored = stored.as_ref().map_or(&value[..], |reference| reference);
            // Below VALUE_MAX.
            let stored_len = u32::try_from(stored.len()).unwrap_or(0);
            self.stream.write(packer, &stored_len.to_le_bytes());
            self.stream.write(packer, stored);
            if known.is_none() && value.len() > REFERENCE_LEN {
                self.values.insert(value.clone(), here);
            }
        }
        if count == 0 {
            return NONE;
        }
        self.records
            .extend_from_slice(&place.reference().to_le_bytes());
        self.records.extend_from_slice(&count.to_le_bytes());
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.records.extend_from_slice(&len.to_le_bytes());
        // No more sets than inodes, of which there are fewer than NONE.
        self.count += 1;
        self.count - 1
    }

    /// The attributes as they are on disk from `position` on, and where their table is; nothing
    /// when there are none.
    pub(super) fn finish(
        self,
        packer: &mut MetadataPacker,
        position: u64,
    ) -> Option<(Vec<u8>, u64)> {
        if self.count == 0 {
            return None;
        }
        let (mut bytes, _) = self.stream.finish(packer);
        let mut header = position.to_le_bytes().to_vec();
        header.extend_from_slice(&self.count.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        let at = position + bytes.len() as u64;
        let (table, start) = metadata::table(packer, self.compress, &self.records, &header, at);
        bytes.extend_from_slice(&table);
        Some((bytes, start))
    }
}

/// The number of a name's prefix, and the rest.
fn split(name: &[u8]) -> Option<(u16, &[u8])> {
    [(0, &b"user."[..]), (1, b"trusted."), (2, b"security.")]
        .into_iter()
        .find_map(|(kind, prefix)| Some((kind, name.strip_prefix(prefix)?)))
}
