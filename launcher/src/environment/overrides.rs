//! Who may set a variable over the image's head, and who wins when several try.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::{Notice, Override, Variable};
use crate::report::Level;
use crate::request::{EnvironmentWish, OverrideOrigin};

const APPTAINER: &str = "APPTAINERENV_";
const SINGULARITY: &str = "SINGULARITYENV_";

/// Variables that have a flag of their own.
const FORBIDDEN: [&str; 5] = [
    "HOME",
    "APPTAINER_SHELL",
    "APPTAINER_APPNAME",
    "SINGULARITY_SHELL",
    "SINGULARITY_APPNAME",
];

/// A wish before it is known whether it is granted.
struct Candidate {
    name: OsString,
    value: OsString,
    origin: OverrideOrigin,
}

/// Collects the overrides: `--env`, then `--env-file`, then `APPTAINERENV_`, then
/// `SINGULARITYENV_`; the first to name a variable has it.
pub(super) fn collect(
    wish: &EnvironmentWish,
    from_files: Vec<Variable>,
    notices: &mut Vec<Notice>,
) -> Vec<Override> {
    warn_about_old_spelling(wish, notices);

    let mut candidates: Vec<Candidate> = Vec::new();
    let flags = wish.variables.iter().rev().filter_map(|(name, value)| {
        if name.is_empty() {
            notices.push(Notice::new(
                Level::Warning,
                format!(
                    "Ignore environment variable ={}: variable name missing",
                    value.to_string_lossy()
                ),
            ));
            return None;
        }
        Some((OsString::from(name), value.clone()))
    });
    for (name, value) in flags.collect::<Vec<_>>() {
        if !candidates.iter().any(|known| known.name == name) {
            candidates.push(Candidate {
                name,
                value,
                origin: OverrideOrigin::Flag,
            });
        }
    }
    candidates.reverse();
    for Variable { name, value } in from_files {
        if candidates.iter().any(|known| known.name == name) {
            notices.push(Notice::new(
                Level::Warning,
                format!(
                    "Ignored environment file variable {}: override from --env",
                    name.to_string_lossy()
                ),
            ));
        } else {
            candidates.push(Candidate {
                name,
                value,
                origin: OverrideOrigin::File,
            });
        }
    }
    for (name, value) in prefixed(wish, APPTAINER) {
        if !candidates.iter().any(|known| known.name == name) {
            candidates.push(Candidate {
                name,
                value,
                origin: OverrideOrigin::ApptainerEnv,
            });
        }
    }
    for (name, value) in prefixed(wish, SINGULARITY) {
        candidates.push(Candidate {
            name,
            value,
            origin: OverrideOrigin::SingularityEnv,
        });
    }
    grant(candidates, notices)
}

/// Applies the list of forbidden names and settles the last dispute, between the two prefixes.
fn grant(candidates: Vec<Candidate>, notices: &mut Vec<Notice>) -> Vec<Override> {
    let mut granted: Vec<Override> = Vec::new();
    for Candidate {
        name,
        value,
        origin,
    } in candidates
    {
        let prefix = match origin {
            OverrideOrigin::SingularityEnv => SINGULARITY,
            OverrideOrigin::ApptainerEnv | OverrideOrigin::File | OverrideOrigin::Flag => APPTAINER,
        };
        if FORBIDDEN.iter().any(|forbidden| name == *forbidden) {
            let name = name.to_string_lossy();
            notices.push(Notice::new(
                Level::Warning,
                format!(
                    "Overriding {name} environment variable with {prefix}{name} is not permitted"
                ),
            ));
            continue;
        }
        // Ids are facts about the process, which a variable must not contradict.
        if name == "UID" || name == "GID" {
            continue;
        }
        let inner = special(&name).map_or_else(|| name.clone(), OsString::from);
        if let Some(winner) = granted.iter().find(|item| item.name == inner) {
            if winner.value != value {
                notices.push(Notice::new(
                    Level::Warning,
                    format!(
                        "Skipping environment variable [{prefix}{}={}], {} is already overridden with different value [{}]",
                        name.to_string_lossy(),
                        value.to_string_lossy(),
                        inner.to_string_lossy(),
                        winner.value.to_string_lossy(),
                    ),
                ));
            }
            continue;
        }
        granted.push(Override {
            name: inner,
            value,
            origin,
        });
    }
    granted
}

/// The names under which the images' scripts know the three ways to change `PATH`.
fn special(name: &OsStr) -> Option<&'static str> {
    match name.as_bytes() {
        b"PATH" => Some("SING_USER_DEFINED_PATH"),
        b"PREPEND_PATH" => Some("SING_USER_DEFINED_PREPEND_PATH"),
        b"APPEND_PATH" => Some("SING_USER_DEFINED_APPEND_PATH"),
        _ => None,
    }
}

/// Variables of the caller that start with `prefix`, without it; the empty name is nobody's.
fn prefixed(
    wish: &EnvironmentWish,
    prefix: &'static str,
) -> impl Iterator<Item = (OsString, OsString)> {
    wish.host.iter().filter_map(move |(name, value)| {
        let inner = name.as_bytes().strip_prefix(prefix.as_bytes())?;
        (!inner.is_empty()).then(|| (OsStr::from_bytes(inner).to_os_string(), value.clone()))
    })
}

fn warn_about_old_spelling(wish: &EnvironmentWish, notices: &mut Vec<Notice>) {
    for (name, value) in prefixed(wish, SINGULARITY) {
        let newer = prefixed(wish, APPTAINER).find(|(other, _)| *other == name);
        let name = name.to_string_lossy();
        match newer {
            None => notices.push(Notice::new(
                Level::Info,
                format!(
                    "Environment variable {SINGULARITY}{name} is set, but {APPTAINER}{name} is preferred"
                ),
            )),
            Some((_, other)) if other != value => notices.push(Notice::new(
                Level::Warning,
                format!(
                    "{SINGULARITY}{name} and {APPTAINER}{name} have different values, using the latter"
                ),
            )),
            Some(_) => {}
        }
    }
}
