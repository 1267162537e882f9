//! Debian and its kind.

use std::path::Path;

use super::recipe::{DEVICE_FILES, Host, Masks, Recipe, Step, words};
use super::{included, program};
use crate::definition::Stage;

pub(super) fn recipe(stage: &Stage, root: &Path, host: &dyn Host) -> Result<Recipe, String> {
    let debootstrap = program(host, "debootstrap").map_err(|reason| {
        format!("debootstrap is not in PATH... Perhaps 'apt-get install' it: {reason}")
    })?;
    let required = |key: &str| {
        stage
            .value(key)
            .ok_or_else(|| format!("invalid debootstrap header, no {key} specified"))
    };
    let mirror = required("mirrorurl")?;
    let version = required("osversion")?;
    let arch = debian_arch(host.arch())?;
    let packages = included(stage, host).join(",");
    let arguments = words([
        "--variant=minbase",
        "--exclude=openssl,udev,debconf-i18n,e2fsprogs",
        &format!("--include=apt,{packages}"),
        &format!("--arch={arch}"),
        version,
        &root.to_string_lossy(),
        mirror,
    ]);
    Ok(Recipe {
        steps: vec![
            Step::run(debootstrap, arguments, "while debootstrapping"),
            Step::Mode {
                path: String::new(),
                mode: 0o755,
            },
        ],
        masks: Masks {
            programs: ["mount", "mknod"]
                .iter()
                .filter_map(|name| host.find(name))
                .collect(),
            // Without sysfs in this list it is not mounted.
            empty: vec!["/proc/filesystems"],
            devices: DEVICE_FILES.to_vec(),
            proc: false,
        },
    })
}

/// Debian's name of an architecture that Go calls `arch`.
fn debian_arch(arch: &str) -> Result<&'static str, String> {
    Ok(match arch {
        "386" => "i386",
        "amd64" => "amd64",
        "arm" => "armhf",
        "arm64" => "arm64",
        "ppc64le" => "ppc64el",
        "riscv64" => "riscv64",
        "mipsle" => "mipsel",
        "mips64le" => "mips64el",
        "s390x" => "s390x",
        other => return Err(format!("debian arch not known for GOARCH {other}")),
    })
}
