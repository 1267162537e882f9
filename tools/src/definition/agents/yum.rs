//! Red Hat's kind.

use std::path::Path;

use super::recipe::{Host, Question, Recipe, Step, words};
use super::{included, program, with_version};
use crate::definition::Stage;

/// Configuration in the new root.
const CONFIGURATION: &str = "etc/bootstrap-yum.conf";

pub(super) fn recipe(stage: &Stage, root: &Path, host: &dyn Host) -> Result<Recipe, String> {
    let installer = host
        .find("dnf")
        .or_else(|| host.find("yum"))
        .ok_or("neither yum nor dnf in path")?;
    let rpm = program(host, "rpm")
        .map_err(|reason| format!("while checking rpm path: rpm is not in path: {reason}"))?;
    let mirror = stage
        .value("mirrorurl")
        .ok_or("while getting bootstrap options: invalid yum header, no mirrorurl specified")?;
    let update = stage.value("updateurl").unwrap_or_default();
    let given = stage.value("osversion");
    let version = given.unwrap_or_default();
    let (mirror, in_mirror) = with_version(mirror, version);
    let (update, in_update) = with_version(update, version);
    if (in_mirror || in_update) && given.is_none() {
        return Err(
            "while getting bootstrap options: invalid yum header, osversion referenced in \
                    mirror but no osversion specified"
                .to_owned(),
        );
    }
    let key = host.variable("GPG").filter(|key| !key.is_empty());

    let mut steps = vec![
        Step::Inspect {
            program: rpm.clone(),
            arguments: words(["--eval", "%{_db_backend}"]),
            question: Question::RpmBackend,
        },
        Step::Inspect {
            program: rpm.clone(),
            arguments: words(["--eval", "%{_dbpath}"]),
            question: Question::RpmDatabase,
        },
        Step::Directory {
            path: "etc".to_owned(),
            mode: 0o775,
        },
        Step::File {
            path: CONFIGURATION.to_owned(),
            mode: 0o664,
            content: configuration(&mirror, &update, key.is_some()),
        },
    ];
    let own_root = root.to_string_lossy();
    match key {
        Some(key) if !key.starts_with("https://") => {
            return Err(
                "while generating yum config: while importing gpg key: gpg key must be \
                        fetched with https"
                    .to_owned(),
            );
        }
        Some(key) => steps.extend([
            Step::Info("We have a GPG key!  Preparing RPM database.".to_owned()),
            Step::run(
                rpm.clone(),
                words(["--root", &own_root, "--initdb"]),
                "while initializing new rpm db",
            ),
            Step::run(
                rpm,
                words(["--root", &own_root, "--import", &key]),
                "while importing gpg key with rpm",
            ),
            Step::Info("GPG key import complete!".to_owned()),
        ]),
        None => steps.push(Step::Info("Skipping GPG Key Import".to_owned())),
    }
    steps.extend(Step::devices());
    let mut install = words([
        "--noplugins",
        "-c",
        &root.join(CONFIGURATION).to_string_lossy(),
        "--installroot",
        &own_root,
        &format!("--releasever={version}"),
        "-y",
    ]);
    if let Some(options) = stage.value("setopt").filter(|options| !options.is_empty()) {
        install.extend(words(["--setopt", options]));
    }
    install.extend(words(["install", "/etc/redhat-release", "coreutils"]));
    install.extend(included(stage, host));
    steps.push(Step::Run {
        program: installer,
        arguments: install,
        quiet: true,
        failure: "while bootstrapping".to_owned(),
        tolerated: None,
    });
    steps.push(Step::Remove {
        path: "var/cache/yum-bootstrap".to_owned(),
    });
    Ok(Recipe {
        steps,
        ..Recipe::default()
    })
}

/// Where the host's rpm keeps its database is where it makes that of the new root.
pub(super) fn judge_database(place: &str) -> Result<Vec<String>, String> {
    match place.trim() {
        "/var/lib/rpm" => Ok(Vec::new()),
        new @ "/usr/lib/sysimage/rpm" => Ok(vec![
            format!("Your host system is using a new RPM database path: {new}"),
            "Bootstrapping of older distributions that use /var/lib/rpm will fail.".to_owned(),
        ]),
        other => Err(format!(
            "rpm database is using a non-standard path: {other}; packages of the new system would \
             not find it (Debian's rpm is like that). Put the lines \"%_var /var\" and \
             \"%_dbpath %{{_var}}/lib/rpm\" into ~/.rpmmacros and build again"
        )),
    }
}

/// The host's rpm makes the new root's database in the format of its own.
pub(super) fn judge_backend(name: &str) -> Vec<String> {
    match name.trim() {
        // What an rpm that knows one format only makes of the question.
        "bdb" | "" | "%{_db_backend}" => Vec::new(),
        other => vec![
            format!("Your host system is using the {other} RPM database backend."),
            "Bootstrapping of older distributions that use the bdb backend will fail.".to_owned(),
        ],
    }
}

fn configuration(mirror: &str, update: &str, check: bool) -> String {
    let check = u8::from(check);
    let mut text = format!(
        "[main]\n\
         cachedir=/var/cache/yum-bootstrap\n\
         keepcache=0\n\
         debuglevel=2\n\
         logfile=/var/log/yum.log\n\
         syslog_device=/dev/null\n\
         exactarch=1\n\
         obsoletes=1\n\
         gpgcheck={check}\n\
         plugins=1\n\
         reposdir=0\n\
         deltarpm=0\n"
    );
    for (name, title, url) in [("base", "", mirror), ("updates", " updates", update)] {
        if !url.is_empty() {
            text.push_str(&format!(
                "\n[{name}]\n\
                 name=Linux $releasever - $basearch{title}\n\
                 baseurl={url}\n\
                 enabled=1\n\
                 gpgcheck={check}\n"
            ));
        }
    }
    text
}
