//! What may be written to in the container, and where it is kept: overlays, `--writable`,
//! `--writable-tmpfs`.

/// Wishes about writing to the root (compat-runtime section 18).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WritingWish {}
