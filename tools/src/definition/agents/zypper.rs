//! SUSE's kind.

use std::path::{Path, PathBuf};

use super::recipe::{Host, Question, Recipe, Step, words};
use super::{included, program, with_version};
use crate::definition::Stage;

/// Configuration in the new root.
const CONFIGURATION: &str = "etc/zypp/zypp.conf";
/// The key that packages of a product are signed with, in the new root.
const KEY: &str = ".product.pgp";
/// zypper's exit code when packages are installed but scripts of theirs failed.
const SCRIPTS_FAILED: i32 = 107;

/// What registering a product of the enterprise kind needs.
struct Enterprise {
    register: PathBuf,
    product: String,
    module_suffix: String,
    mirror: Option<String>,
    major: u32,
}

pub(super) fn recipe(stage: &Stage, root: &Path, host: &dyn Host) -> Result<Recipe, String> {
    let zypper =
        program(host, "zypper").map_err(|reason| format!("zypper is not in PATH: {reason}"))?;
    let rpm = program(host, "rpm")?;
    let version = stage.value("osversion");
    let enterprise = enterprise(stage, host)?;
    let (mirror, update) = match &enterprise {
        Some(found) => (found.mirror.clone().unwrap_or_default(), String::new()),
        None => open(stage)?,
    };
    let own_root = root.to_string_lossy().into_owned();
    let mut steps = vec![
        Step::Inspect {
            program: rpm,
            arguments: words(["--eval", "%{_dbpath}"]),
            question: Question::RpmDatabase,
        },
        Step::Directory {
            path: "etc".to_owned(),
            mode: 0o775,
        },
        Step::Directory {
            path: "etc/zypp".to_owned(),
            mode: 0o775,
        },
        Step::File {
            path: CONFIGURATION.to_owned(),
            mode: 0o664,
            content: "[main]\ncachedir=/val/cache/zypp-bootstrap\n\n".to_owned(),
        },
    ];
    steps.extend(Step::devices());
    let call = |arguments: &[&str], failure: &str| {
        let mut all = words(["--root", &own_root]);
        all.extend(arguments.iter().map(|&word| word.to_owned()));
        Step::run(zypper.clone(), all, failure)
    };
    if !mirror.is_empty() {
        steps.push(call(&["ar", &mirror, "repo"], "while adding zypper mirror"));
        steps.push(call(
            &["--gpg-auto-import-keys", "refresh"],
            "while refreshing gpg keys",
        ));
        if !update.is_empty() {
            steps.push(call(
                &["ar", "-f", &update, "update"],
                "while adding zypper update",
            ));
            steps.push(call(
                &["--gpg-auto-import-keys", "refresh", "-r", "update"],
                "while refreshing update",
            ));
        }
    }
    if let Some(enterprise) = &enterprise {
        register(stage, root, host, enterprise, &mut steps)?;
    }
    for (index, url) in other_urls(stage).into_iter().enumerate() {
        let name = format!("repo-{index}");
        steps.push(call(
            &["ar", "-f", url, &name],
            &format!("while adding zypper url: {url}"),
        ));
        steps.push(call(
            &["--gpg-auto-import-keys", "refresh", "-r", &name],
            &format!("while refreshing: {name}"),
        ));
    }
    let mut install = words([
        "--non-interactive",
        "-c",
        &root.join(CONFIGURATION).to_string_lossy(),
        "--root",
        &own_root,
        &format!("--releasever={}", version.unwrap_or_default()),
        "-n",
        "install",
        "--auto-agree-with-licenses",
        "--download-in-advance",
        "aaa_base",
    ]);
    install.extend(included(stage, host));
    if enterprise.is_some() {
        install.push("SUSEConnect".to_owned());
    }
    steps.push(Step::Run {
        program: zypper.clone(),
        arguments: install,
        quiet: false,
        failure: "while bootstrapping from zypper".to_owned(),
        tolerated: Some((
            SCRIPTS_FAILED,
            "Bootstrap succeeded, some RPM scripts failed".to_owned(),
        )),
    });
    Ok(Recipe {
        steps,
        ..Recipe::default()
    })
}

/// Mirrors of what needs no registration.
fn open(stage: &Stage) -> Result<(String, String), String> {
    let mirror = stage
        .value("mirrorurl")
        .ok_or("invalid zypper header, no MirrorURL specified")?;
    let version = stage.value("osversion");
    let (mirror, in_mirror) = with_version(mirror, version.unwrap_or_default());
    let (update, in_update) = with_version(
        stage.value("updateurl").unwrap_or_default(),
        version.unwrap_or_default(),
    );
    if (in_mirror || in_update) && version.is_none() {
        return Err(
            "invalid zypper header, OSVersion referenced in mirror but no OSVersion specified"
                .to_owned(),
        );
    }
    Ok((mirror, update))
}

/// Further mirrors; they are numbered from 0 or 1, without gaps.
fn other_urls(stage: &Stage) -> Vec<&str> {
    let url = |index: u32| stage.value(&format!("otherurl{index}"));
    let first = if url(0).is_some() { 0 } else { 1 };
    (first..first + 20).map_while(url).collect()
}

fn enterprise(stage: &Stage, host: &dyn Host) -> Result<Option<Enterprise>, String> {
    let keys = ["product", "user", "regcode"].map(|key| stage.value(key));
    let product = match keys {
        [None, None, None] => return Ok(None),
        [Some(product), Some(_), Some(_)] => product,
        _ => {
            return Err(
                "for installation of SLE 'Product', 'User' and 'Regcode' need to be set".to_owned(),
            );
        }
    };
    let version = stage
        .value("osversion")
        .ok_or("invalid zypper header, OSVersion always required for SLE")?;
    let mirror = stage.value("mirrorurl");
    if stage.value("productpgp").is_none() && mirror.is_none() {
        return Err(
            "no 'ProductPGP' and no 'InstallURL' defined in bootstrap definition".to_owned(),
        );
    }
    let register = program(host, "SUSEConnect")
        .map_err(|reason| format!("SUSEConnect is not in PATH: {reason}"))?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |text: &str| -> Result<u32, String> {
        text.parse()
            .map_err(|_| format!("OSVersion has wrong format: {version}"))
    };
    let (number, service_pack) = (number(major)?, number(minor)?);
    if number > 12 && mirror.is_none() {
        return Err(
            "for SLE version > 12 'MirrorURL' must be defined and point to the installer"
                .to_owned(),
        );
    }
    let short = if service_pack > 0 { version } else { major };
    let (product, _) = with_version(product, short);
    let parts: Vec<&str> = product.split('/').collect();
    let machine = match parts[..] {
        [_, _, machine] => machine.to_owned(),
        [_] | [_, _] => machine(host.arch()).to_owned(),
        _ => return Err("malformed Product setting".to_owned()),
    };
    let suffix = format!("{version}/{machine}");
    let product = match parts.len() {
        1 => format!("{product}/{suffix}"),
        2 => format!("{product}/{machine}"),
        _ => product.clone(),
    };
    Ok(Some(Enterprise {
        register,
        product,
        module_suffix: suffix,
        mirror: mirror.map(|url| with_version(url, short).0),
        major: number,
    }))
}

/// The kernel's name of an architecture that Go calls `arch`.
fn machine(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

fn register(
    stage: &Stage,
    root: &Path,
    host: &dyn Host,
    enterprise: &Enterprise,
    steps: &mut Vec<Step>,
) -> Result<(), String> {
    let own_root = root.to_string_lossy().into_owned();
    if let Some(key) = stage.value("productpgp") {
        let rpmkeys = program(host, "rpmkeys")?;
        // Programs look in either place, by their age.
        let (kept, linked, back) = if enterprise.major == 12 {
            ("var/lib", "usr/lib/sysimage", "../../..")
        } else {
            ("usr/lib/sysimage", "var/lib", "../..")
        };
        let mut directories: Vec<String> = Vec::new();
        for path in [format!("{kept}/rpm"), linked.to_owned()] {
            let ends = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            directories.extend(ends.collect::<Vec<_>>());
            directories.push(path);
        }
        steps.extend(
            directories
                .into_iter()
                .map(|path| Step::Directory { path, mode: 0o755 }),
        );
        steps.push(Step::Link {
            path: format!("{linked}/rpm"),
            target: format!("{back}/{kept}/rpm"),
        });
        steps.push(Step::File {
            path: KEY.to_owned(),
            mode: 0o600,
            content: format!("{key}\n"),
        });
        let file = root.join(KEY);
        steps.push(Step::run(
            rpmkeys,
            words(["--root", &own_root, "--import", &file.to_string_lossy()]),
            "while importing pgp keys",
        ));
        steps.push(Step::Remove {
            path: KEY.to_owned(),
        });
    }
    let value = |key: &str| stage.value(key).unwrap_or_default();
    let mut arguments = words([
        "--root",
        &own_root,
        "--product",
        &enterprise.product,
        "--email",
        value("user"),
        "--regcode",
        value("regcode"),
    ]);
    if let Some(url) = stage.value("registerurl") {
        arguments.extend(words(["--url", url]));
    }
    let failure = "while registering";
    steps.push(Step::run(enterprise.register.clone(), arguments, failure));
    for module in value("modules").split(',').map(str::trim) {
        if !module.is_empty() {
            let module = format!("{module}/{}", enterprise.module_suffix);
            let arguments = words(["--root", &own_root, "--product", &module]);
            steps.push(Step::run(enterprise.register.clone(), arguments, failure));
        }
    }
    Ok(())
}
