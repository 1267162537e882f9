//! Digests of a blob's chunks, so that bytes are checked when they arrive and not when all are there.
//!
//! A registry vouches for a SIF as a whole, which helps a reader of parts only when the last part has
//! come. A list of digests of its chunks can be published beside it, as an artifact that refers to
//! the SIF's manifest:
//!
//! ```text
//! manifest of the artifact
//!   artifactType  application/vnd.skiff.chunk-digests.v1
//!   subject       the SIF's manifest
//!   layers[0]     application/vnd.skiff.chunk-digests.v1+bin
//!     annotations skiff.chunk-digests.top = sha256:… of header and page digests
//!
//! the layer (all numbers little-endian, digests are the 32 bytes of a sha256)
//!   0     8   "SKIFFCDL"
//!   8     4   version, 1
//!   12    4   chunk size, 65536
//!   16    4   digests per page, 128
//!   20    4   zero
//!   24    8   size of the blob in bytes
//!   32   32   digest of the blob
//!   64        digest of each page: 32 bytes for 8 MiB of blob
//!   …         the pages, each the digests of its chunks; the last chunk and the last page are shorter
//! ```
//!
//! Header and page digests are read at once and must fit the annotation; a page is read when a chunk
//! of it arrives, and must fit its digest. For 10 GiB that is 40 KiB at first and 4 KiB now and then.
//!
//! What this proves: that bytes are those of whoever published the list. It guards against faults of
//! networks, proxies, mirrors and stores; whoever may push to the repository may publish a list, as
//! they may push another image. The digest of the whole blob is still compared when all of it is
//! there.

mod format;
mod list;
mod verified;

pub use format::{ARTIFACT_TYPE, FormatError, LAYER_TYPE, TOP_ANNOTATION, Writer};
pub use list::ChunkDigests;
pub use verified::Verified;

/// How many bytes a digest covers.
pub const CHUNK: u64 = 64 << 10;
