//! gocryptfs, as far as encrypted images use it: one file of 4 KiB blocks, each sealed by
//! AES-256-GCM, and a configuration that seals the key with a passphrase.
//!
//! ```text
//! partition: squashfs ─┬─ gocryptfs.conf       passphrase ─► scrypt ─► opens the master key
//!                      └─ squashfs-NUMBER      header, blocks ─► squashfs with the root
//! ```
//! Images are read by the server itself: no other program, no mount between.

mod config;
mod content;
mod pack;
#[cfg(test)]
mod tests;

pub use content::{ContentKey, Decrypted};
pub use pack::{Packed, pack};

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::format::bytes::index;
use crate::source::Source;
use crate::tree::{FileKind, NodeRef, Tree, TreeError};

/// The configuration's name.
const CONFIG: &[u8] = b"gocryptfs.conf";

/// How the name of the encrypted file begins.
const CONTENT_PREFIX: &[u8] = b"squashfs-";

/// The longest configuration: real ones have some hundred bytes.
const CONFIG_MAX: u64 = 64 * 1024;

/// Why an encrypted file system cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum GocryptfsError {
    /// A file is not where it must be.
    #[error("the encrypted partition has no {0}")]
    Missing(&'static str),
    /// The configuration cannot be understood.
    #[error("the encrypted partition's gocryptfs.conf: {0}")]
    Config(String),
    /// The passphrase, or the key that stands for one, is another.
    #[error("Password incorrect.")]
    Password,
    /// The outer file system cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The system reports an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Derives the key of the content from `secret` and the configuration in `outer`, the tree of the
/// partition. This takes time and memory: that is its purpose.
///
/// # Errors
/// [`GocryptfsError::Password`], or why the configuration cannot be used.
pub fn unlock(outer: &dyn Tree, secret: &[u8]) -> Result<ContentKey, GocryptfsError> {
    let missing = || GocryptfsError::Missing("gocryptfs.conf");
    let node = outer.lookup(outer.root(), CONFIG)?.ok_or_else(missing)?;
    let size = outer.attr(node)?.size;
    if size > CONFIG_MAX {
        let text = format!("{size} bytes are no configuration");
        return Err(GocryptfsError::Config(text));
    }
    let mut segments = Vec::new();
    outer.read(node, 0, index(size), &mut segments)?;
    let mut text = vec![0; index(size)];
    content::copy_out(&segments, &mut text);
    config::Config::parse(&text)?.unlock(secret)
}

/// The decrypted content in `outer`, the tree of the partition.
///
/// # Errors
/// [`GocryptfsError`]
pub fn open(outer: Arc<dyn Tree>, key: &ContentKey) -> Result<Arc<dyn Source>, GocryptfsError> {
    let node = content_of(&*outer)?.ok_or(GocryptfsError::Missing("squashfs file"))?;
    Ok(Arc::new(Decrypted::open(outer, node, key)?))
}

fn content_of(outer: &dyn Tree) -> Result<Option<NodeRef>, TreeError> {
    let mut found = None;
    outer.read_dir(outer.root(), 0, &mut |entry| {
        if entry.kind == FileKind::Regular && entry.name.starts_with(CONTENT_PREFIX) {
            found = Some(entry.node);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
