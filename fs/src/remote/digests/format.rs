//! The bytes of a list: written, and parsed with distrust.

use sha2::{Digest as _, Sha256};

use super::super::digest::{Digest, hex};
use super::CHUNK;

/// The artifact's type.
pub const ARTIFACT_TYPE: &str = "application/vnd.skiff.chunk-digests.v1";
/// The type of its only layer.
pub const LAYER_TYPE: &str = "application/vnd.skiff.chunk-digests.v1+bin";
/// The layer's annotation that holds the digest of header and page digests.
pub const TOP_ANNOTATION: &str = "skiff.chunk-digests.top";

const MAGIC: &[u8; 8] = b"SKIFFCDL";
const VERSION: u32 = 1;
/// A page is then a block of most disks, and stands for 8 MiB.
const PER_PAGE: u64 = 128;
pub(super) const DIGEST: usize = 32;
const HEADER: usize = 64;
/// Lists for blobs up to 2 TiB: their header and page digests are 8 MiB.
const MAX_PAGES: u64 = 1 << 18;

/// Why bytes are no list, or none for this blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not a list of a version that we know.
    #[error("no list of chunk digests")]
    Unknown,
    /// A list for something else.
    #[error("the list of chunk digests is for another blob")]
    OtherBlob,
    /// Not the bytes that the manifest promises.
    #[error("the list of chunk digests does not fit its digest")]
    Mismatch,
    /// More than we hold in memory.
    #[error("the list of chunk digests is too long")]
    TooLong,
}

/// Where the parts of a list for a blob of some size lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    chunks: u64,
    pages: u64,
}

impl Layout {
    pub(super) fn new(size: u64) -> Result<Self, FormatError> {
        let chunks = size.div_ceil(CHUNK);
        let pages = chunks.div_ceil(PER_PAGE);
        if pages > MAX_PAGES {
            Err(FormatError::TooLong)
        } else {
            Ok(Self { chunks, pages })
        }
    }

    /// Length of header and page digests.
    pub(super) fn top_len(self) -> u64 {
        HEADER as u64 + self.pages * DIGEST as u64
    }

    /// Length of the whole list.
    pub(super) fn len(self) -> u64 {
        self.top_len() + self.chunks * DIGEST as u64
    }

    /// The page of a chunk, and the chunk's place in it.
    pub(super) fn place(self, chunk: u64) -> Option<(usize, usize)> {
        if chunk >= self.chunks {
            return None;
        }
        Some((
            usize::try_from(chunk / PER_PAGE).ok()?,
            usize::try_from(chunk % PER_PAGE).ok()?,
        ))
    }

    /// Where a page lies within the list.
    pub(super) fn page(self, page: usize) -> std::ops::Range<u64> {
        let first = page as u64 * PER_PAGE;
        let last = (first + PER_PAGE).min(self.chunks);
        let at = |chunk: u64| self.top_len() + chunk * DIGEST as u64;
        at(first.min(last))..at(last)
    }
}

/// Checks header and page digests, and returns the page digests.
pub(super) fn parse_top(
    bytes: &[u8],
    promised: &Digest,
    size: u64,
    digest: &Digest,
) -> Result<Vec<[u8; DIGEST]>, FormatError> {
    let layout = Layout::new(size)?;
    if !promised.fits(bytes) {
        return Err(FormatError::Mismatch);
    }
    let (header, pages) = bytes.split_at_checked(HEADER).ok_or(FormatError::Unknown)?;
    let (fixed, about) = header.split_at_checked(24).ok_or(FormatError::Unknown)?;
    if fixed != fixed_part() {
        return Err(FormatError::Unknown);
    }
    let (its_size, its_digest) = about.split_at_checked(8).ok_or(FormatError::Unknown)?;
    let same_digest = digest.algorithm() == "sha256" && hex(its_digest) == digest.hex();
    if its_size != size.to_le_bytes() || !same_digest {
        return Err(FormatError::OtherBlob);
    }
    let (pages, rest) = pages.as_chunks::<DIGEST>();
    if pages.len() as u64 != layout.pages || !rest.is_empty() {
        return Err(FormatError::Unknown);
    }
    Ok(pages.to_vec())
}

fn fixed_part() -> Vec<u8> {
    let chunk = u32::try_from(CHUNK).unwrap_or(u32::MAX);
    let per_page = u32::try_from(PER_PAGE).unwrap_or(u32::MAX);
    let mut bytes = MAGIC.to_vec();
    for number in [VERSION, chunk, per_page, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// Makes the list for a blob whose bytes are given in order.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    whole: Sha256,
    chunk: Sha256,
    in_chunk: u64,
    size: u64,
    chunks: Vec<u8>,
}

impl Writer {
    /// For a blob of which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        self.size += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(CHUNK - self.in_chunk).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.chunk.update(now);
            self.in_chunk += now.len() as u64;
            if self.in_chunk == CHUNK {
                self.end_chunk();
            }
            rest = later;
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.extend(self.chunk.finalize_reset());
        self.in_chunk = 0;
    }

    /// The list, and the value of [`TOP_ANNOTATION`].
    ///
    /// # Errors
    /// A blob that is too large for a list.
    pub fn finish(mut self) -> Result<(Vec<u8>, Digest), FormatError> {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        Layout::new(self.size)?;
        let mut list = fixed_part();
        list.extend(self.size.to_le_bytes());
        list.extend(self.whole.finalize());
        for page in self
            .chunks
            .chunks(usize::try_from(PER_PAGE).unwrap_or(1) * DIGEST)
        {
            list.extend(Sha256::digest(page));
        }
        let top = Digest::of(&list);
        list.extend(self.chunks);
        Ok((list, top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(size: usize) -> (Vec<u8>, Digest, Digest) {
        let bytes: Vec<u8> = (0..size).map(|at| (at / 1000) as u8).collect();
        let mut writer = Writer::new();
        bytes.chunks(7777).for_each(|piece| writer.update(piece));
        let (list, top) = writer.finish().unwrap();
        (list, top, Digest::of(&bytes))
    }

    #[test]
    fn lists_have_the_layout_that_is_described() {
        for size in [
            0,
            1,
            65_536,
            65_537,
            128 * 65_536,
            128 * 65_536 + 1,
            9_000_000,
        ] {
            let (list, top, digest) = list(size);
            let layout = Layout::new(size as u64).unwrap();
            assert_eq!(list.len() as u64, layout.len());
            let top_len = layout.top_len() as usize;
            let pages = parse_top(&list[..top_len], &top, size as u64, &digest).unwrap();
            for (index, page) in pages.iter().enumerate() {
                let range = layout.page(index);
                let bytes = &list[range.start as usize..range.end as usize];
                assert_eq!(Sha256::digest(bytes).as_slice(), page);
            }
            assert_eq!(layout.page(pages.len()).end, layout.len());
        }
    }

    #[test]
    fn the_format_does_not_change_by_accident() {
        let (list, top, _) = list(200_000);
        assert_eq!(list.len(), 64 + 32 + 4 * 32);
        assert_eq!(
            &list[..24],
            b"SKIFFCDL\x01\0\0\0\0\0\x01\0\x80\0\0\0\0\0\0\0"
        );
        assert_eq!(
            top.hex(),
            "8d95c04d53342dbaee816b105c7c98274fbee49629b824d65996824885783f48"
        );
    }

    #[test]
    fn damaged_and_foreign_lists_are_refused() {
        let (list, top, digest) = list(200_000);
        let parse = |bytes: &[u8], top: &Digest, size, digest: &Digest| {
            parse_top(bytes, top, size, digest).err()
        };
        assert_eq!(parse(&list[..96], &top, 200_000, &digest), None);
        assert_eq!(
            parse(&list[..96], &Digest::of(b""), 200_000, &digest),
            Some(FormatError::Mismatch)
        );
        assert_eq!(
            parse(&list[..96], &top, 200_001, &digest),
            Some(FormatError::OtherBlob)
        );
        assert_eq!(
            parse(&list[..96], &top, 200_000, &Digest::of(b"")),
            Some(FormatError::OtherBlob)
        );
        let short = &list[..95];
        assert_eq!(
            parse(short, &Digest::of(short), 200_000, &digest),
            Some(FormatError::Unknown)
        );
        let mut other = list[..96].to_vec();
        other[8] = 2;
        assert_eq!(
            parse(&other, &Digest::of(&other), 200_000, &digest),
            Some(FormatError::Unknown)
        );
        assert_eq!(
            parse(&[], &Digest::of(&[]), 0, &digest),
            Some(FormatError::Unknown)
        );
        assert_eq!(Layout::new(u64::MAX), Err(FormatError::TooLong));
    }
}
