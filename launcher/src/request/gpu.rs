//! Which GPUs and drivers of the host the container gets: `--nv`, `--rocm`, `--device`.

/// Wishes about GPUs (compat-runtime section 19).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GpuWish {}
