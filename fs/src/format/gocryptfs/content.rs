//! The encrypted file: a header with a number of its own, then blocks.
//!
//! ```text
//! 0   u16  version, big-endian: 2
//! 2   [16] number of the file
//! 18  blocks: nonce (16), up to 4096 bytes, tag (16); all zeros: a hole
//! ```
//! Each block is bound to its place by the number of the file and its own.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use rsa::sha2::Sha256;
use serde::{Deserialize, Serialize};

use super::GocryptfsError;
use crate::crypt::fill_random;
use crate::format::bytes::index;
use crate::source::Source;
use crate::tree::{NodeRef, Segment, Tree, TreeError};

/// Length of keys.
pub(super) const KEY_LEN: usize = 32;

const NONCE_LEN: usize = 16;
const TAG_LEN: usize = 16;

/// What a block takes beyond its content.
pub(super) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Content of a block.
pub(super) const BLOCK: usize = 4096;

/// The same, for places in files.
const BLOCK_LEN: u64 = 4096;

/// A block as it lies in the file.
pub(super) const SEALED_BLOCK: usize = BLOCK + OVERHEAD;

/// Length of a file's number.
pub(super) const ID_LEN: usize = 16;

const HEADER_LEN: usize = 2 + ID_LEN;
const VERSION: u16 = 2;

/// What the key of the content is derived for, by gocryptfs's word.
const PURPOSE: &[u8] = b"AES-GCM file content encryption";

/// Blocks that are decrypted at a time.
const STEP: u64 = 64;

/// The key that a file's content is sealed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentKey(Arc<[u8; KEY_LEN]>);

impl ContentKey {
    /// The content's key below this master key.
    pub(super) fn of_master(master: &[u8]) -> Self {
        let mut key = [0; KEY_LEN];
        // It fails only for outputs of thousands of bytes; zeros would open nothing.
        let _derived = Hkdf::<Sha256>::new(None, master).expand(PURPOSE, &mut key);
        Self(Arc::new(key))
    }
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentKey")
    }
}

impl From<ContentKey> for String {
    fn from(key: ContentKey) -> Self {
        STANDARD.encode(*key.0)
    }
}

impl TryFrom<String> for ContentKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text).map_err(|_| "no key")?;
        let key = bytes.try_into().map_err(|_| "no key")?;
        Ok(Self(Arc::new(key)))
    }
}

/// Seals and opens blocks.
pub(super) struct Gcm(AesGcm<Aes256, U16>);

impl std::fmt::Debug for Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcm")
    }
}

impl Gcm {
    pub(super) fn new(key: &ContentKey) -> Self {
        Self(AesGcm::new((&*key.0).into()))
    }

    /// Appends block `number` of file `id` with this content to `to`.
    pub(super) fn seal(
        &self,
        number: u64,
        id: &[u8],
        content: &[u8],
        to: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce)?;
        to.extend_from_slice(&nonce);
        let start = to.len();
        to.extend_from_slice(content);
        let place = place(number, id);
        let content = to.get_mut(start..).unwrap_or_default();
        let tag = self
            .0
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), &place, content)
            .map_err(|_| io::Error::other("encrypting a block"))?;
        to.extend_from_slice(&tag);
        Ok(())
    }

    /// The content of the sealed `block`, decrypted in place; `None` if it was not sealed with this
    /// key for this place.
    pub(super) fn open<'a>(&self, number: u64, id: &[u8], block: &'a mut [u8]) -> Option<&'a [u8]> {
        let (nonce, rest) = block.split_at_mut_checked(NONCE_LEN)?;
        let (content, tag) = rest.split_at_mut_checked(rest.len().checked_sub(TAG_LEN)?)?;
        let place = place(number, id);
        self.0
            .decrypt_in_place_detached(
                Nonce::from_slice(nonce),
                &place,
                content,
                Tag::from_slice(tag),
            )
            .ok()?;
        Some(content)
    }
}

fn place(number: u64, id: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), id].concat()
}

/// The header of file `id`.
pub(super) fn header(id: &[u8; ID_LEN]) -> Vec<u8> {
    [&VERSION.to_be_bytes()[..], id].concat()
}

/// Copies `segments` one after the other to `to`; returns how many bytes they had room for.
pub(super) fn copy_out(segments: &[Segment], to: &mut [u8]) -> usize {
    let len = to.len();
    let mut rest = to;
    for segment in segments {
        let count = segment.len().min(rest.len());
        let (here, behind) = rest.split_at_mut(count);
        match segment {
            Segment::Bytes(bytes, range) => {
                let bytes = bytes.get(range.clone()).unwrap_or_default();
                for (to, from) in here.iter_mut().zip(bytes) {
                    *to = *from;
                }
            }
            Segment::Zeros(_) => here.fill(0),
        }
        rest = behind;
    }
    len.saturating_sub(rest.len())
}

/// Content of an encrypted file in a tree.
pub struct Decrypted {
    outer: Arc<dyn Tree>,
    node: NodeRef,
    gcm: Gcm,
    id: [u8; ID_LEN],
    /// Bytes of the encrypted file.
    sealed: u64,
    /// Bytes of its content.
    size: u64,
}

impl std::fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decrypted({} bytes of {:?})", self.size, self.outer)
    }
}

impl Decrypted {
    /// The content of `node` of `outer`.
    ///
    /// # Errors
    /// [`GocryptfsError`]
    pub fn open(
        outer: Arc<dyn Tree>,
        node: NodeRef,
        key: &ContentKey,
    ) -> Result<Self, GocryptfsError> {
        let sealed = outer.attr(node)?.size;
        let mut segments = Vec::new();
        outer.read(node, 0, HEADER_LEN, &mut segments)?;
        let mut header = [0; HEADER_LEN];
        copy_out(&segments, &mut header);
        let [v0, v1, id @ ..] = header;
        if u16::from_be_bytes([v0, v1]) != VERSION {
            return Err(GocryptfsError::Missing("file that gocryptfs encrypted"));
        }
        Ok(Self {
            gcm: Gcm::new(key),
            outer,
            node,
            id,
            sealed,
            size: content_size(sealed),
        })
    }

    /// Where the blocks that hold `range` of the content lie.
    fn place(&self, range: Range<u64>) -> Range<u64> {
        let sealed = |block: u64| {
            block
                .saturating_mul(SEALED_BLOCK as u64)
                .saturating_add(HEADER_LEN as u64)
                .min(self.sealed)
        };
        let first = range.start / BLOCK_LEN;
        let end = range.end.div_ceil(BLOCK_LEN);
        sealed(first)..sealed(end)
    }

    /// Decrypts the blocks from `first` on that lie in `place`, and gives their content to `emit`.
    fn decrypt(
        &self,
        first: u64,
        place: Range<u64>,
        emit: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let len = index(place.end.saturating_sub(place.start));
        let mut segments = Vec::new();
        self.outer
            .read(self.node, place.start, len, &mut segments)
            .map_err(|error| match error {
                TreeError::Source(error) => error,
                other => io::Error::other(other),
            })?;
        let mut bytes = vec![0; len];
        if copy_out(&segments, &mut bytes) != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, block) in (first..).zip(bytes.chunks_mut(SEALED_BLOCK)) {
            if block.iter().all(|byte| *byte == 0) {
                let content = block.get(OVERHEAD..).unwrap_or_default();
                emit(content);
                continue;
            }
            let opened = self.gcm.open(number, &self.id, block);
            emit(opened.ok_or_else(|| {
                let text =
                    format!("encrypted block {number} is damaged, or sealed with another key");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?);
        }
        Ok(())
    }
}

/// Bytes of content in a file of `sealed` bytes.
fn content_size(sealed: u64) -> u64 {
    let blocks = sealed.saturating_sub(HEADER_LEN as u64);
    let count = blocks.div_ceil(SEALED_BLOCK as u64);
    blocks.saturating_sub(count.saturating_mul(OVERHEAD as u64))
}

impl Source for Decrypted {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset.saturating_add(buf.len() as u64).min(self.size);
        let mut done = 0_usize;
        let mut at = offset;
        while at < end {
            let first = at / BLOCK_LEN;
            // A whole number of blocks from there on.
            let step_end = first
                .saturating_add(STEP)
                .saturating_mul(BLOCK_LEN)
                .min(end);
            let mut skip = index(at % BLOCK_LEN);
            let wanted = index(step_end.saturating_sub(at));
            let before = done;
            self.decrypt(first, self.place(at..step_end), &mut |content| {
                let content = content.get(skip..).unwrap_or_default();
                skip = 0;
                let room = wanted.saturating_sub(done.saturating_sub(before));
                let to = buf.get_mut(done..).unwrap_or_default().iter_mut();
                let count = content.len().min(room);
                for (to, from) in to.zip(content).take(count) {
                    *to = *from;
                }
                done = done.saturating_add(count);
            })?;
            if done == before {
                break;
            }
            at = step_end;
        }
        Ok(done)
    }

    fn will_need(&self, range: Range<u64>) {
        let place = self.place(range);
        let len = place.end.saturating_sub(place.start);
        self.outer.announce(self.node, place.start, len);
    }

    fn is_remote(&self) -> bool {
        self.outer.waits()
    }
}
