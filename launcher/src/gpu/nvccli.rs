//! `--nvccli`: as much of the NVIDIA driver as the `NVIDIA_*` variables ask for.
//!
//! Apptainer calls nvidia-container-cli for this, which runs as root where it can and works inside
//! the image. Here it is a plan like any other: devices by `NVIDIA_VISIBLE_DEVICES`, libraries and
//! programs by `NVIDIA_DRIVER_CAPABILITIES`, conditions by `NVIDIA_REQUIRE_*`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::devices;
use super::host::HostRoot;
use super::liblist::LibList;
use super::require::{Verdict, judge};
use crate::report::{Level, Report};

const DRIVER: &str = "/proc/driver/nvidia";

/// More than any of the driver's descriptions.
const MAX_DESCRIPTION: u64 = 64 << 10;

const UTILITY: &[&str] = &["libnvidia-ml.so", "libnvidia-cfg.so", "libnvidia-nscq.so"];
const UTILITY_PROGRAMS: &[&str] = &["nvidia-smi", "nvidia-debugdump", "nvidia-persistenced"];
const COMPUTE: &[&str] = &[
    "libcuda.so",
    "libcudadebugger.so",
    "libnvidia-opencl.so",
    "libnvidia-gpucomp.so",
    "libnvidia-ptxjitcompiler.so",
    "libnvidia-fatbinaryloader.so",
    "libnvidia-allocator.so",
    "libnvidia-compiler.so",
    "libnvidia-pkcs11.so",
    "libnvidia-pkcs11-openssl3.so",
    "libnvidia-nvvm.so",
];
const COMPUTE_PROGRAMS: &[&str] = &["nvidia-cuda-mps-control", "nvidia-cuda-mps-server"];
const VIDEO: &[&str] = &[
    "libvdpau_nvidia.so",
    "libnvidia-encode.so",
    "libnvidia-opticalflow.so",
    "libnvcuvid.so",
];
const GRAPHICS: &[&str] = &[
    "libnvidia-eglcore.so",
    "libnvidia-glcore.so",
    "libnvidia-tls.so",
    "libnvidia-glsi.so",
    "libnvidia-fbc.so",
    "libnvidia-rtcore.so",
    "libnvoptix.so",
    "libGLX_nvidia.so",
    "libEGL_nvidia.so",
    "libGLESv2_nvidia.so",
    "libGLESv1_CM_nvidia.so",
    "libnvidia-glvkspirv.so",
    "libnvidia-gpucomp.so",
    "libnvidia-cbl.so",
    "libnvidia-egl-wayland.so",
    "libnvidia-egl-gbm.so",
];
const GRAPHICS_FILES: &[&str] = &[
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/nvidia/nvoptix.bin",
];

/// One GPU, as the kernel's driver describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Gpu {
    uuid: String,
    minor: u32,
}

/// What is wanted of the driver.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// Libraries, programs and files.
    pub list: LibList,
    /// Device nodes.
    pub devices: Vec<PathBuf>,
    /// Variables that the container gets.
    pub variables: Vec<(OsString, OsString)>,
}

/// Chooses by the variables of `environment`.
///
/// # Errors
/// One line, in the words of Apptainer or nvidia-container-cli where they have the same failure.
pub fn choose(
    host: &HostRoot<'_>,
    environment: &[(OsString, OsString)],
    contain: bool,
    report: &mut Report<'_>,
) -> Result<Choice, String> {
    let variable = |wanted: &str| {
        environment
            .iter()
            .find(|(name, value)| name == wanted && !value.is_empty())
            .map(|(_, value)| value.as_os_str())
    };
    let mut choice = Choice::default();
    let visible = match variable("NVIDIA_VISIBLE_DEVICES") {
        Some(visible) => visible.to_string_lossy().into_owned(),
        None if contain => {
            report(
                Level::Warning,
                "When using nvidia-container-cli with --contain NVIDIA_VISIBLE_DEVICES must be set \
                 or no GPUs will be available in container.",
            );
            String::new()
        }
        None => {
            report(
                Level::Info,
                "Setting 'NVIDIA_VISIBLE_DEVICES=all' to emulate legacy GPU binding.",
            );
            choice
                .variables
                .push(("NVIDIA_VISIBLE_DEVICES".into(), "all".into()));
            "all".to_owned()
        }
    };
    let capabilities = Capabilities::parse(variable("NVIDIA_DRIVER_CAPABILITIES"))?;
    let Some(version) = version(host) else {
        return Err(format!(
            "no NVIDIA driver is loaded on this host ({DRIVER}/version is missing), which --nvccli \
             needs; --nv takes what is there"
        ));
    };
    check_requirements(environment, &version, report)?;
    if visible == "void" {
        return Ok(choice);
    }
    choice.list = capabilities.list(report);
    choice.devices = devices::nvidia_control(host, capabilities.graphics || capabilities.display);
    choice.devices.extend(select(host, &visible, report)?);
    Ok(choice)
}

/// Version of the kernel's driver.
fn version(host: &HostRoot<'_>) -> Option<String> {
    let text = host
        .read(&Path::new(DRIVER).join("version"), MAX_DESCRIPTION)
        .ok()?;
    // NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .find(|line| line.starts_with("NVRM version:"))?
        .split_whitespace()
        .find(|word| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok()))
        .map(str::to_owned)
}

fn check_requirements(
    environment: &[(OsString, OsString)],
    version: &str,
    report: &mut Report<'_>,
) -> Result<(), String> {
    if environment
        .iter()
        .any(|(name, _)| name == "NVIDIA_DISABLE_REQUIRE")
    {
        return Ok(());
    }
    for (name, value) in environment {
        let name = name.to_string_lossy();
        if !name.starts_with("NVIDIA_REQUIRE_") {
            continue;
        }
        let value = value.to_string_lossy();
        match judge(&value, version) {
            Verdict::Met => {}
            Verdict::Unmet => {
                return Err(format!(
                    "requirement error: unsatisfied condition: {value} ({name}), and the driver is \
                     {version}; please update your driver, or set NVIDIA_DISABLE_REQUIRE"
                ));
            }
            Verdict::Unknown => report(
                Level::Warning,
                &format!("{name}={value} cannot be checked without asking the GPU; going on"),
            ),
        }
    }
    Ok(())
}

/// `NVIDIA_DRIVER_CAPABILITIES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of six names, each there or not"
)]
struct Capabilities {
    compute: bool,
    compat32: bool,
    graphics: bool,
    utility: bool,
    video: bool,
    display: bool,
}

impl Capabilities {
    fn parse(value: Option<&OsStr>) -> Result<Self, String> {
        let Some(value) = value else {
            return Ok(Self {
                compute: true,
                utility: true,
                ..Self::default()
            });
        };
        let mut found = Self::default();
        for name in value.to_string_lossy().split(',') {
            let field = match name {
                "compute" => &mut found.compute,
                "compat32" => &mut found.compat32,
                "graphics" => &mut found.graphics,
                "utility" => &mut found.utility,
                "video" => &mut found.video,
                "display" => &mut found.display,
                "all" => {
                    found = Self {
                        compute: true,
                        compat32: false,
                        graphics: true,
                        utility: true,
                        video: true,
                        display: true,
                    };
                    continue;
                }
                _ => return Err(format!("unknown NVIDIA_DRIVER_CAPABILITIES value: {name}")),
            };
            *field = true;
        }
        Ok(found)
    }

    fn list(self, report: &mut Report<'_>) -> LibList {
        let mut list = LibList::default();
        for (wanted, libraries) in [
            (self.utility, UTILITY),
            (self.compute, COMPUTE),
            (self.video, VIDEO),
            (self.graphics, GRAPHICS),
        ] {
            if wanted {
                list.libraries
                    .extend(libraries.iter().map(|&name| name.to_owned()));
            }
        }
        for (wanted, programs) in [
            (self.utility, UTILITY_PROGRAMS),
            (self.compute, COMPUTE_PROGRAMS),
        ] {
            if wanted {
                list.programs
                    .extend(programs.iter().map(|&name| name.to_owned()));
            }
        }
        if self.graphics {
            list.files.extend(GRAPHICS_FILES.iter().map(PathBuf::from));
        }
        if self.compat32 {
            report(
                Level::Warning,
                "32-bit libraries of the driver are left out (NVIDIA_DRIVER_CAPABILITIES=compat32)",
            );
        }
        list
    }
}

/// GPUs of the host in the order of their bus addresses, which is that of their numbers.
fn gpus(host: &HostRoot<'_>) -> Vec<Gpu> {
    let directory = Path::new(DRIVER).join("gpus");
    host.names(&directory)
        .into_iter()
        .filter_map(|name| {
            let path = directory.join(name).join("information");
            let text = host.read(&path, MAX_DESCRIPTION).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let field = |key: &str| {
                text.lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.trim() == key)
                    .map(|(_, value)| value.trim().to_owned())
            };
            Some(Gpu {
                uuid: field("GPU UUID")?,
                minor: field("Device Minor")?.parse().ok()?,
            })
        })
        .collect()
}

/// Nodes of the GPUs that `visible` names.
fn select(
    host: &HostRoot<'_>,
    visible: &str,
    report: &mut Report<'_>,
) -> Result<Vec<PathBuf>, String> {
    let gpus = gpus(host);
    let mut chosen: Vec<u32> = Vec::new();
    let mut parts = false;
    for name in visible.split(',').map(str::trim) {
        match name {
            "" | "none" => continue,
            "all" => {
                chosen.extend(gpus.iter().map(|gpu| gpu.minor));
                continue;
            }
            _ => {}
        }
        // A part of a GPU: 0:1, MIG-GPU-<uuid>/1/2; or MIG-<uuid>, which only the driver's own
        // library could assign to a GPU.
        let whole = match name.strip_prefix("MIG-") {
            Some(rest) if rest.starts_with("GPU-") => {
                parts = true;
                rest.split('/').next().unwrap_or(rest)
            }
            Some(_) => {
                report(
                    Level::Warning,
                    &format!(
                        "{name}: which GPU this is a part of cannot be told without asking it; the \
                         nodes of all GPUs are given"
                    ),
                );
                parts = true;
                chosen.extend(gpus.iter().map(|gpu| gpu.minor));
                continue;
            }
            None => match name.split_once(':') {
                Some((gpu, _)) => {
                    parts = true;
                    gpu
                }
                None => name,
            },
        };
        let found = match whole.parse::<usize>() {
            Ok(index) => gpus.get(index),
            Err(_) if whole.len() > 4 && whole.starts_with("GPU-") => gpus
                .iter()
                .find(|gpu| gpu.uuid.to_lowercase().starts_with(&whole.to_lowercase())),
            Err(_) => None,
        };
        let found = found.ok_or_else(|| {
            format!(
                "device error: {name}: unknown device (NVIDIA_VISIBLE_DEVICES; this host has {} \
                 GPUs)",
                gpus.len()
            )
        })?;
        chosen.push(found.minor);
    }
    chosen.sort_unstable();
    chosen.dedup();
    let mut nodes: Vec<PathBuf> = chosen
        .iter()
        .map(|minor| PathBuf::from(format!("/dev/nvidia{minor}")))
        .collect();
    let capabilities = PathBuf::from("/dev/nvidia-caps");
    if (parts || visible == "all") && host.exists(&capabilities) {
        nodes.push(capabilities);
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n\
             GCC version:  gcc version 12.2.0\n",
        );
        for (bus, minor, uuid) in [
            ("0000:65:00.0", 0, "GPU-bbbb"),
            ("0000:17:00.0", 1, "GPU-aaaa-1"),
        ] {
            write(
                &format!("proc/driver/nvidia/gpus/{bus}/information"),
                &format!(
                    "Model: \t\t Big\nGPU UUID: \t {uuid}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
                ),
            );
            write(&format!("dev/nvidia{minor}"), "");
        }
        write("dev/nvidiactl", "");
        write("dev/nvidia-modeset", "");
        write("dev/nvidia-caps/nvidia-cap1", "");
        root
    }

    type Said = Vec<(Level, String)>;

    fn chosen(variables: &[(&str, &str)], contain: bool) -> (Result<Choice, String>, Said) {
        let root = host();
        let environment: Vec<_> = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        let mut said = Vec::new();
        let choice = choose(
            &HostRoot::new(root.path()),
            &environment,
            contain,
            &mut |level, text| said.push((level, text.to_owned())),
        );
        (choice, said)
    }

    fn nodes(visible: &str) -> Result<String, String> {
        let (choice, _) = chosen(&[("NVIDIA_VISIBLE_DEVICES", visible)], true);
        choice.map(|choice| {
            let names: Vec<_> = choice
                .devices
                .iter()
                .map(|path| path.display().to_string().replace("/dev/nvidia", ""))
                .collect();
            names.join(" ")
        })
    }

    #[test]
    fn devices_by_number_uuid_and_part() {
        // Numbers follow the bus, nodes the driver.
        assert_eq!(nodes("0"), Ok("ctl 1".into()));
        assert_eq!(nodes("1"), Ok("ctl 0".into()));
        assert_eq!(nodes("0,1"), Ok("ctl 0 1".into()));
        assert_eq!(nodes("all"), Ok("ctl 0 1 -caps".into()));
        assert_eq!(nodes("none"), Ok("ctl".into()));
        assert_eq!(nodes("void"), Ok(String::new()));
        assert_eq!(nodes("gpu-x"), Err("device error: gpu-x: unknown device (NVIDIA_VISIBLE_DEVICES; this host has 2 GPUs)".into()));
        assert_eq!(nodes("GPU-AAAA"), Ok("ctl 1".into()));
        assert_eq!(nodes("0:1"), Ok("ctl 1 -caps".into()));
        assert_eq!(nodes("MIG-GPU-bbbb/1/0"), Ok("ctl 0 -caps".into()));
        assert_eq!(nodes("MIG-1234"), Ok("ctl 0 1 -caps".into()));
        assert!(nodes("7").is_err());
    }

    #[test]
    fn what_is_unset() {
        let (choice, said) = chosen(&[], false);
        assert_eq!(
            choice.unwrap().variables,
            [("NVIDIA_VISIBLE_DEVICES".into(), "all".into())]
        );
        assert_eq!(said.first().unwrap().0, Level::Info);
        let (choice, said) = chosen(&[], true);
        assert_eq!(choice.unwrap().devices, [PathBuf::from("/dev/nvidiactl")]);
        assert_eq!(said.first().unwrap().0, Level::Warning);
    }

    #[test]
    fn capabilities_choose_libraries() {
        let with = |capabilities: &str| {
            let (choice, _) = chosen(
                &[
                    ("NVIDIA_VISIBLE_DEVICES", "all"),
                    ("NVIDIA_DRIVER_CAPABILITIES", capabilities),
                ],
                false,
            );
            choice.map(|choice| choice.list)
        };
        let list = with("utility").unwrap();
        assert!(list.libraries.contains(&"libnvidia-ml.so".to_owned()));
        assert!(!list.libraries.contains(&"libcuda.so".to_owned()));
        let list = with("").unwrap();
        assert!(list.libraries.contains(&"libcuda.so".to_owned()));
        assert!(!list.libraries.contains(&"libGLX_nvidia.so".to_owned()));
        assert!(
            with("all")
                .unwrap()
                .libraries
                .contains(&"libGLX_nvidia.so".to_owned())
        );
        assert_eq!(
            with("compute,magic").unwrap_err(),
            "unknown NVIDIA_DRIVER_CAPABILITIES value: magic"
        );
    }

    #[test]
    fn requirements() {
        let with = |name: &str, value: &str, disabled: bool| {
            let mut variables = vec![("NVIDIA_VISIBLE_DEVICES", "all"), (name, value)];
            if disabled {
                variables.push(("NVIDIA_DISABLE_REQUIRE", "1"));
            }
            let (choice, said) = chosen(&variables, false);
            (choice.is_ok(), said.len())
        };
        assert_eq!(with("NVIDIA_REQUIRE_CUDA", "cuda>=12.0", false), (true, 0));
        assert_eq!(with("NVIDIA_REQUIRE_CUDA", "cuda>=13.0", false), (false, 0));
        assert_eq!(with("NVIDIA_REQUIRE_CUDA", "cuda>=13.0", true), (true, 0));
        assert_eq!(with("NVIDIA_REQUIRE_X", "brand=tesla", false), (true, 1));
    }

    #[test]
    fn no_driver() {
        let root = tempfile::tempdir().unwrap();
        let error = choose(&HostRoot::new(root.path()), &[], true, &mut |_, _| {}).unwrap_err();
        assert!(error.starts_with("no NVIDIA driver is loaded"), "{error}");
    }
}
