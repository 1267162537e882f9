//! Flags: which GPUs and drivers of the host the container gets: `--nv`, `--rocm`, `--device`.

use clap::Args;

use crate::cli::value::Strings;

/// Wishes about GPUs (compat-runtime section 19).
#[derive(Args, Clone, Debug, Default)]
pub struct GpuArgs {
    /// Bring the host's NVIDIA driver into the container
    #[arg(long)]
    pub nv: bool,
    /// As --nv, but only as much as NVIDIA_VISIBLE_DEVICES and NVIDIA_DRIVER_CAPABILITIES ask for
    #[arg(long)]
    pub nvccli: bool,
    /// Bring the host's ROCm libraries into the container
    #[arg(long)]
    pub rocm: bool,
    /// Give the container devices described by CDI specifications, e.g. nvidia.com/gpu=0
    #[arg(long, value_name = "strings")]
    pub device: Vec<Strings>,
    /// Directories of CDI specifications (default /etc/cdi,/var/run/cdi)
    #[arg(long, value_name = "strings")]
    pub cdi_dirs: Vec<Strings>,
    /// More libraries of the host for the container
    #[arg(long, value_name = "strings", hide = true)]
    pub containlibs: Vec<Strings>,
    /// No NVIDIA driver, even if the configuration says so
    #[arg(long, hide = true)]
    pub no_nv: bool,
    /// No ROCm libraries, even if the configuration says so
    #[arg(long, hide = true)]
    pub no_rocm: bool,
}
