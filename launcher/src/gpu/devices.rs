//! Device nodes of GPUs, for the small /dev of contained runs; the whole /dev has them anyway.

use std::path::{Path, PathBuf};

use super::host::HostRoot;

/// All nodes of the NVIDIA driver, directories included.
pub fn nvidia(host: &HostRoot<'_>) -> Vec<PathBuf> {
    matching(host, "/dev", &["nvidia"])
}

/// Nodes of the NVIDIA driver that belong to no GPU in particular. `modeset` is for displays.
pub fn nvidia_control(host: &HostRoot<'_>, modeset: bool) -> Vec<PathBuf> {
    let mut names = vec!["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"];
    if modeset {
        names.push("nvidia-modeset");
    }
    names
        .into_iter()
        .map(|name| Path::new("/dev").join(name))
        .filter(|path| host.exists(path))
        .collect()
}

/// What ROCm works with: every card's nodes and the compute interface.
pub fn rocm(host: &HostRoot<'_>) -> Vec<PathBuf> {
    let mut nodes = matching(host, "/dev/dri", &["card", "render"]);
    let compute = PathBuf::from("/dev/kfd");
    if host.exists(&compute) {
        nodes.push(compute);
    }
    nodes
}

fn matching(host: &HostRoot<'_>, directory: &str, beginnings: &[&str]) -> Vec<PathBuf> {
    host.names(Path::new(directory))
        .into_iter()
        .filter(|name| {
            let name = name.to_string_lossy();
            beginnings
                .iter()
                .any(|beginning| name.starts_with(beginning))
        })
        .map(|name| Path::new(directory).join(name))
        .collect()
}
