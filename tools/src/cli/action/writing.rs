//! Flags: what may be written to in the container, and where it is kept: overlays, `--writable`,
//! `--writable-tmpfs`.

use clap::Args;

/// Wishes about writing to the root (compat-runtime section 18).
#[derive(Args, Clone, Debug, Default)]
pub struct WritingArgs {}
