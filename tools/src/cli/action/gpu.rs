//! Flags: which GPUs and drivers of the host the container gets: `--nv`, `--rocm`, `--device`.

use clap::Args;

/// Wishes about GPUs (compat-runtime section 19).
#[derive(Args, Clone, Debug, Default)]
pub struct GpuArgs {}
