//! The node's chunk cache: parts of blobs on a local disk, shared by all processes of a user.
//!
//! ```text
//! DIR/blobs/<sha256 of key>.data    the blob's bytes at their own offsets, with holes
//!                          .index   header, checksum per grain, last use per chunk
//!                          .about   JSON: key, name, size, digest, verification
//!                          .pin     there: never evicted
//!    /notes/<kind>.<sha256 of key>  small facts that processes leave each other
//!    /usage, /evict.lock            bytes taken, and who makes room
//! ```
//! A *grain* (4 KiB) is the unit of presence: it is there when the index has a checksum for it and
//! the bytes just read fit that checksum. So nothing is ever synchronised: a torn write, a page lost
//! with the power, a flipped bit and a hole punched by the evictor are all the same, a miss. A
//! *chunk* (64 KiB) is the unit of last use and eviction.
//!
//! Files are read and written by pread(2) and pwrite(2) and not mapped: under a map a truncated
//! file, a full disk or a failing one is a SIGBUS, for every container of the node. A hit costs two
//! system calls more than a map would, a few per cent of decoding what was hit.
//!
//! Who may write: the owner of the directory. Everyone else reads, and verifies as he does.

mod about;
mod blob;
mod claims;
mod directory;
mod evict;
mod files;
mod index;
mod key;
mod limits;
mod note;
mod places;
mod store;
mod sys;
#[cfg(test)]
mod tests;
mod usage;
mod whole;

pub use about::{About, BlobInfo, BlobKind, State};
pub use blob::{Blob, Fetch};
pub use directory::{Cache, CacheError};
pub use evict::Freed;
pub use key::BlobKey;
pub use limits::{Limits, parse_size};
pub use note::NoteLock;
pub use places::DIRECTORY_VARIABLE;
pub use usage::Usage;
pub use whole::CheckReport;

/// Unit of presence, in bytes.
pub const GRAIN: u64 = 4096;

/// Unit of eviction, in bytes.
pub const CHUNK: u64 = 64 << 10;

const GRAINS_PER_CHUNK: u64 = CHUNK / GRAIN;
