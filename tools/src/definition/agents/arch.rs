//! Arch Linux.

use std::path::Path;

use super::program;
use super::recipe::{DEVICE_FILES, Host, Masks, Recipe, Step, words};
use crate::definition::Stage;

/// pacman's configuration where the header names none.
const CONFIGURATION: &str =
    "https://gitlab.archlinux.org/archlinux/packaging/packages/pacman/-/raw/main/pacman.conf";

/// Gathers the randomness that keys are made of, while there is no other source of it.
const ENTROPY: &str = "haveged";

pub(super) fn recipe(stage: &Stage, root: &Path, host: &dyn Host) -> Result<Recipe, String> {
    let pacstrap =
        program(host, "pacstrap").map_err(|reason| format!("pacstrap is not in PATH: {reason}"))?;
    if host.arch() != "amd64" {
        return Err(format!("{} architecture is not supported", host.arch()));
    }
    let chroot = program(host, "arch-chroot")
        .map_err(|reason| format!("arch-chroot is not in PATH: {reason}"))?;
    let own_root = root.to_string_lossy();
    let configuration = root.join("pac-conf");
    let mut install = words([
        "-C",
        &configuration.to_string_lossy(),
        "-c",
        "-G",
        "-M",
        &own_root,
        ENTROPY,
    ]);
    match stage.value("include") {
        Some(packages) => install.extend(packages.split_whitespace().map(str::to_owned)),
        None => install.push("base".to_owned()),
    }
    let keys = "haveged -w 1024; pacman-key --init; pacman-key --populate archlinux";
    Ok(Recipe {
        steps: vec![
            Step::Download {
                url: stage.value("confurl").unwrap_or(CONFIGURATION).to_owned(),
                path: "pac-conf".to_owned(),
                mode: 0o644,
                failure: "while getting pacman config".to_owned(),
            },
            Step::run(pacstrap, install, "while pacstrapping"),
            Step::run(
                chroot.clone(),
                words([&own_root, "/bin/sh", "-c", keys]),
                "while setting up package signing",
            ),
            Step::run(
                chroot,
                words([&own_root, "pacman", "-Rs", "--noconfirm", ENTROPY]),
                "while cleaning up packages",
            ),
            Step::Remove {
                path: "pac-conf".to_owned(),
            },
        ],
        masks: Masks {
            programs: ["mount", "umount"]
                .iter()
                .filter_map(|name| host.find(name))
                .collect(),
            empty: Vec::new(),
            devices: DEVICE_FILES.to_vec(),
            proc: true,
        },
    })
}
