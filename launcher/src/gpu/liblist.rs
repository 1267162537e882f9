//! `nvliblist.conf` and `rocmliblist.conf`: which libraries, programs and files make up a driver.
//!
//! One name per line, `#` comments. A name with `.so` in it is a library, an absolute path is a
//! file, anything else is a program on the PATH.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::host::HostRoot;

/// Where lists are looked for, first one that exists.
const DIRECTORIES: [&str; 2] = ["/etc/skiff", "/etc/apptainer"];

/// More than any list of names.
const MAX_LIST: u64 = 1 << 20;

/// The list for NVIDIA that counts where the administrator keeps none.
const NVIDIA: &[&str] = &[
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "libcuda.so",
    "libcudadebugger.so",
    "libEGL_installertest.so",
    "libEGL_nvidia.so",
    "libEGL.so",
    "libGLdispatch.so",
    "libGLESv1_CM_nvidia.so",
    "libGLESv1_CM.so",
    "libGLESv2_nvidia.so",
    "libGLESv2.so",
    "libGL.so",
    "libGLX_installertest.so",
    "libGLX_nvidia.so",
    "libglx.so",
    "libGLX.so",
    "libnvcuvid.so",
    "libnvidia-cbl.so",
    "libnvidia-cfg.so",
    "libnvidia-compiler.so",
    "libnvidia-eglcore.so",
    "libnvidia-egl-wayland.so",
    "libnvidia-encode.so",
    "libnvidia-fatbinaryloader.so",
    "libnvidia-fbc.so",
    "libnvidia-glcore.so",
    "libnvidia-glsi.so",
    "libnvidia-glvkspirv.so",
    "libnvidia-gpucomp.so",
    "libnvidia-gtk2.so",
    "libnvidia-gtk3.so",
    "libnvidia-ifr.so",
    "libnvidia-ml.so",
    "libnvidia-nvvm.so",
    "libnvidia-opencl.so",
    "libnvidia-opticalflow.so",
    "libnvidia-ptxjitcompiler.so",
    "libnvidia-rtcore.so",
    "libnvidia-tls.so",
    "libnvidia-wfb.so",
    "libnvoptix.so",
    "libOpenCL.so",
    "libOpenGL.so",
    "libvdpau_nvidia.so",
    "nvidia_drv.so",
    "tls_test_.so",
    // What boards with a built-in GPU have instead.
    "libnvcucompat.so",
    "libnvcudla.so",
    "libnvcuextend.so",
    "libnvidia-rmapi-tegra.so",
    "libnvos.so",
    "libnvosd.so",
    "libnvrm_chip.so",
    "libnvrm_gpu.so",
    "libnvrm_host1x.so",
    "libnvrm_mem.so",
    "libnvrm_stream.so",
    "libnvrm_surface.so",
    "libnvrm_sync.so",
    "libnvsciipc.so",
    "libnvsocsys.so",
    "libnvtegrahv.so",
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/icd.d/nvidia_layers.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
    "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
    "/usr/share/nvidia/nvoptix.bin",
];

/// The list for ROCm that counts where the administrator keeps none.
const ROCM: &[&str] = &[
    "rocm-smi",
    "rocminfo",
    "libCXLActivityLogger.so",
    "libhc_am.so",
    "libmcwamp.so",
    "libmcwamp_cpu.so",
    "libmcwamp_hsa.so",
    "libdrm.so",
    "libdrm_amdgpu.so",
    "libnuma.so",
    "libpci.so",
    "librocr_debug_agent64.so",
    "libamdcomgr64.so",
    "libamdocl64.so",
    "libcltrace.so",
    "libOpenCL.so",
];

/// The two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Platform {
    /// `nvliblist.conf`.
    Nvidia,
    /// `rocmliblist.conf`.
    Rocm,
}

impl Platform {
    /// Name of the list's file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Nvidia => "nvliblist.conf",
            Self::Rocm => "rocmliblist.conf",
        }
    }

    /// Apptainer's word for it in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nvidia => "nv",
            Self::Rocm => "ROCm",
        }
    }

    const fn built_in(self) -> &'static [&'static str] {
        match self {
            Self::Nvidia => NVIDIA,
            Self::Rocm => ROCM,
        }
    }
}

/// What a list names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LibList {
    /// Beginnings of names of libraries, or absolute paths of libraries.
    pub libraries: Vec<String>,
    /// Names of programs.
    pub programs: Vec<String>,
    /// Other files, absolute.
    pub files: Vec<PathBuf>,
}

impl LibList {
    /// The administrator's list for `platform`, else the built-in one. A list that cannot be read is
    /// returned as an error's text.
    ///
    /// # Errors
    /// One line about the file.
    pub fn find(host: &HostRoot<'_>, platform: Platform) -> Result<Self, String> {
        for directory in DIRECTORIES {
            let path = Path::new(directory).join(platform.file_name());
            let file = match std::fs::File::open(host.at(&path)) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&path, platform, &error)),
            };
            let mut text = Vec::new();
            file.take(MAX_LIST)
                .read_to_end(&mut text)
                .map_err(|error| unreadable(&path, platform, &error))?;
            return Ok(Self::parse(String::from_utf8_lossy(&text).lines()));
        }
        Ok(Self::parse(platform.built_in().iter().copied()))
    }

    /// Sorts the lines of a list.
    pub fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut list = Self::default();
        for line in lines {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.contains(".so") {
                list.libraries.push(line.to_owned());
            } else if line.starts_with('/') {
                list.files.push(PathBuf::from(line));
            } else if !line.contains('/') {
                list.programs.push(line.to_owned());
            }
        }
        list
    }
}

fn unreadable(path: &Path, platform: Platform, error: &std::io::Error) -> String {
    format!(
        "could not read {}: could not open {}: {}",
        platform.file_name(),
        path.display(),
        crate::error::reason(error)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_lines() {
        let text =
            "# comment\n\n nvidia-smi \nlibcuda.so\n/opt/x/libfoo.so.1\n/usr/share/a.json\n../up\n";
        let list = LibList::parse(text.lines());
        assert_eq!(list.programs, ["nvidia-smi"]);
        assert_eq!(list.libraries, ["libcuda.so", "/opt/x/libfoo.so.1"]);
        assert_eq!(list.files, [PathBuf::from("/usr/share/a.json")]);
    }

    #[test]
    fn the_administrators_list_replaces_ours() {
        let root = tempfile::tempdir().unwrap();
        let host = HostRoot::new(root.path());
        let built_in = LibList::find(&host, Platform::Nvidia).unwrap();
        assert!(built_in.libraries.contains(&"libcuda.so".to_owned()));
        assert!(built_in.programs.contains(&"nvidia-smi".to_owned()));
        assert_eq!(built_in.files.len(), 7);
        let directory = root.path().join("etc/apptainer");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("nvliblist.conf"), "libmine.so\n").unwrap();
        let own = LibList::find(&host, Platform::Nvidia).unwrap();
        assert_eq!(own.libraries, ["libmine.so"]);
        assert!(own.programs.is_empty());
        std::fs::create_dir_all(root.path().join("etc/skiff/nvliblist.conf")).unwrap();
        assert!(
            LibList::find(&host, Platform::Nvidia)
                .unwrap_err()
                .starts_with("could not read nvliblist.conf: ")
        );
    }
}
