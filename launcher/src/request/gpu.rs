//! Which GPUs and drivers of the host the container gets: `--nv`, `--rocm`, `--device`.

use std::path::PathBuf;

/// Wishes about GPUs (compat-runtime section 19).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GpuWish {
    /// `--nv`: the host's NVIDIA driver.
    pub nvidia: bool,
    /// `--nvccli`: as much of it as the `NVIDIA_*` variables ask for.
    pub by_variables: bool,
    /// `--no-nv`, which is against the configuration only.
    pub no_nvidia: bool,
    /// `--rocm`: the host's ROCm libraries.
    pub rocm: bool,
    /// `--no-rocm`, which is against the configuration only.
    pub no_rocm: bool,
    /// `--device`: devices by their CDI names.
    pub devices: Vec<String>,
    /// `--containlibs`: single libraries of the host.
    pub libraries: Vec<PathBuf>,
    /// `--cdi-dirs`: where they are described; the usual places when empty.
    pub cdi_dirs: Vec<PathBuf>,
}
