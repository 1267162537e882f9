//! Flags: what may be written to in the container, and where it is kept: overlays, `--writable`,
//! `--writable-tmpfs`.

use clap::Args;

use crate::cli::value::Strings;

/// Wishes about writing to the root (compat-runtime section 18).
#[derive(Args, Clone, Debug, Default)]
pub struct WritingArgs {
    /// Lay a directory or an image (ext3, squashfs, SIF) over the root; changes are kept in it
    /// unless :ro follows its name. Of several the later ones lie above the earlier ones
    #[arg(long, short = 'o', value_name = "strings")]
    pub overlay: Vec<Strings>,
    /// Open the root for writing: a sandbox, or a SIF with an overlay of its own
    #[arg(long, short)]
    pub writable: bool,
    /// Let the root be written to, keeping nothing
    #[arg(long)]
    pub writable_tmpfs: bool,
    /// Compose the root of bind mounts; never needed here
    #[arg(long, hide = true)]
    pub underlay: bool,
    /// Unpack the image to a temporary directory first; never needed here
    #[arg(long)]
    pub unsquash: bool,
}
