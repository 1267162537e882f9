//! One slot of the table: what an object is and where it lies.

use crate::format::bytes::Fields;

use super::SifError;
use super::codes::{
    Arch, DataType, FsType, HashType, MessageFormat, MessageType, PartitionType, SbomFormat,
};

/// Length of a slot.
pub const DESCRIPTOR_LEN: usize = 585;

/// Where a slot says whether it is in use.
const USED_AT: usize = 4;

/// Longest name in bytes.
pub(super) const NAME_MAX: usize = 128;

/// Length of the part that differs by type.
pub(super) const EXTRA_LEN: usize = 384;

/// Group numbers are stored with these bits set, also "no group".
pub(super) const GROUP_BITS: u32 = 0xF000_0000;

/// What an object refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Nothing.
    None,
    /// The object with this number.
    Object(u32),
    /// All objects of this group.
    Group(u32),
}

/// What a descriptor says beyond the fields that all have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extra {
    /// Nothing.
    None,
    /// Of a partition.
    Partition {
        /// Its file system.
        fs: FsType,
        /// Its purpose.
        kind: PartitionType,
        /// Machine its programs are for.
        arch: Arch,
    },
    /// Of a signature.
    Signature {
        /// Digest of older signatures.
        hash: HashType,
        /// PGP fingerprint of the signer; none for other kinds of keys.
        fingerprint: Option<[u8; 20]>,
    },
    /// Of a cryptographic message.
    Message {
        /// How it is written.
        format: MessageFormat,
        /// What it holds.
        kind: MessageType,
    },
    /// Of a bill of materials.
    Sbom {
        /// How it is written.
        format: SbomFormat,
    },
    /// Of an OCI index or blob.
    Digest(String),
}

/// An object's descriptor; the bytes it names are within the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// What it is.
    pub data_type: DataType,
    /// Number, unique in the file.
    pub id: u32,
    /// Group.
    pub group: Option<u32>,
    /// What it refers to.
    pub link: Link,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
    /// The same with the gap before them, which aligns them.
    pub size_with_padding: u64,
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds.
    pub modified: i64,
    /// Owner; 0 in new files.
    pub uid: i64,
    /// Group of the owner; 0 in new files.
    pub gid: i64,
    /// Name; may be empty.
    pub name: String,
    /// What this type of object says beyond that.
    pub extra: Extra,
}

impl Descriptor {
    /// Parses the slot `bytes`, which stands at byte `at` of a file of `size` bytes; `None` when
    /// it is free.
    ///
    /// # Errors
    /// [`SifError::Descriptor`]
    pub fn parse(
        bytes: &[u8; DESCRIPTOR_LEN],
        at: u64,
        size: u64,
    ) -> Result<Option<Self>, SifError> {
        let Some(raw) = Raw::parse(bytes).filter(|raw| raw.used != 0) else {
            return Ok(None);
        };
        let wrong = |field, offset: u64, value, problem| SifError::Descriptor {
            id: raw.id,
            field,
            at: at.saturating_add(offset),
            value,
            problem,
        };
        let unsigned = |field, offset, value: i64| {
            u64::try_from(value).map_err(|_| wrong(field, offset, value, "negative"))
        };
        let descriptor = Self {
            data_type: DataType::from_code(raw.data_type),
            id: raw.id,
            group: Some(raw.group & !GROUP_BITS).filter(|group| *group != 0),
            link: link(raw.link),
            offset: unsigned("offset", 17, raw.offset)?,
            size: unsigned("size", 25, raw.size)?,
            // Nothing is read by it, and old writers left odd values.
            size_with_padding: u64::try_from(raw.size_with_padding).unwrap_or(0),
            created: raw.created,
            modified: raw.modified,
            uid: raw.uid,
            gid: raw.gid,
            name: text(raw.name),
            extra: extra(DataType::from_code(raw.data_type), raw.extra),
        };
        if descriptor.size == 0 {
            // Aligned, it may lie behind the end of the file.
            return Ok(Some(descriptor));
        }
        let end = descriptor.offset.checked_add(descriptor.size);
        if descriptor.offset > size {
            return Err(wrong(
                "offset",
                17,
                raw.offset,
                "behind the end of the file",
            ));
        }
        if end.is_none_or(|end| end > size) {
            return Err(wrong(
                "size",
                25,
                raw.size,
                "more than the file holds from its offset on",
            ));
        }
        Ok(Some(descriptor))
    }

    /// Whether the slot `bytes` is in use.
    pub(super) fn is_used(bytes: &[u8; DESCRIPTOR_LEN]) -> bool {
        bytes.get(USED_AT).is_some_and(|used| *used != 0)
    }

    /// The bytes on disk.
    pub(super) fn encode(&self) -> [u8; DESCRIPTOR_LEN] {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).to_le_bytes();
        let link = match self.link {
            Link::None => 0,
            Link::Object(id) => id,
            Link::Group(group) => group | GROUP_BITS,
        };
        let mut name = [0; NAME_MAX];
        copy(&mut name, self.name.as_bytes());
        let parts: [&[u8]; 13] = [
            &self.data_type.code().to_le_bytes(),
            &[1],
            &self.id.to_le_bytes(),
            &(self.group.unwrap_or(0) | GROUP_BITS).to_le_bytes(),
            &link.to_le_bytes(),
            &number(self.offset),
            &number(self.size),
            &number(self.size_with_padding),
            &self.created.to_le_bytes(),
            &self.modified.to_le_bytes(),
            &self.uid.to_le_bytes(),
            &self.gid.to_le_bytes(),
            &name,
        ];
        let mut bytes = [0; DESCRIPTOR_LEN];
        let head = bytes.len().saturating_sub(EXTRA_LEN);
        let (fixed, rest) = bytes.split_at_mut(head);
        for (to, from) in fixed.iter_mut().zip(parts.iter().copied().flatten()) {
            *to = *from;
        }
        self.extra.encode(rest);
        bytes
    }
}

impl Extra {
    fn encode(&self, to: &mut [u8]) {
        let pair = |one: i32, other: i32| [one.to_le_bytes(), other.to_le_bytes()].concat();
        match self {
            Self::None => {}
            Self::Partition { fs, kind, arch } => {
                let mut bytes = pair(fs.code(), kind.code());
                bytes.extend_from_slice(&arch.code());
                copy(to, &bytes);
            }
            Self::Signature { hash, fingerprint } => {
                let mut bytes = hash.code().to_le_bytes().to_vec();
                bytes.extend_from_slice(fingerprint.as_ref().map_or(&[], |print| print));
                copy(to, &bytes);
            }
            Self::Message { format, kind } => copy(to, &pair(format.code(), kind.code())),
            Self::Sbom { format } => copy(to, &format.code().to_le_bytes()),
            Self::Digest(digest) => copy(to, digest.as_bytes()),
        }
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

fn link(raw: u32) -> Link {
    match raw {
        0 => Link::None,
        raw if raw & GROUP_BITS == GROUP_BITS => Link::Group(raw & !GROUP_BITS),
        raw => Link::Object(raw & !GROUP_BITS),
    }
}

/// Text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn extra(data_type: DataType, bytes: &[u8]) -> Extra {
    let mut fields = Fields::new(bytes);
    // The slot has the full length, so no field is missing.
    let mut number = || fields.array().map_or(0, i32::from_le_bytes);
    match data_type {
        DataType::Partition => Extra::Partition {
            fs: FsType::from_code(number()),
            kind: PartitionType::from_code(number()),
            arch: Arch::from_code(fields.array().unwrap_or_default()),
        },
        DataType::Signature => Extra::Signature {
            hash: HashType::from_code(number()),
            fingerprint: fields.array().filter(|print| *print != [0; 20]),
        },
        DataType::Message => Extra::Message {
            format: MessageFormat::from_code(number()),
            kind: MessageType::from_code(number()),
        },
        DataType::Sbom => Extra::Sbom {
            format: SbomFormat::from_code(number()),
        },
        DataType::OciRootIndex | DataType::OciBlob => Extra::Digest(text(bytes)),
        DataType::Definition
        | DataType::Environment
        | DataType::Labels
        | DataType::GenericJson
        | DataType::Generic
        | DataType::Unknown(_) => Extra::None,
    }
}

/// The slot as it lies on disk.
struct Raw<'a> {
    data_type: i32,
    used: u8,
    id: u32,
    group: u32,
    link: u32,
    offset: i64,
    size: i64,
    size_with_padding: i64,
    created: i64,
    modified: i64,
    uid: i64,
    gid: i64,
    name: &'a [u8],
    extra: &'a [u8],
}

impl<'a> Raw<'a> {
    fn parse(bytes: &'a [u8; DESCRIPTOR_LEN]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            data_type: fields.array().map(i32::from_le_bytes)?,
            used: fields.array::<1>().map(|[used]| used)?,
            id: fields.u32()?,
            group: fields.u32()?,
            link: fields.u32()?,
            offset: fields.i64()?,
            size: fields.i64()?,
            size_with_padding: fields.i64()?,
            created: fields.i64()?,
            modified: fields.i64()?,
            uid: fields.i64()?,
            gid: fields.i64()?,
            name: fields.bytes(NAME_MAX)?,
            extra: fields.bytes(EXTRA_LEN)?,
        })
    }
}
