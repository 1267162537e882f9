//! Which variables the program is offered before the image's scripts have had their say.
//!
//! [`plan`] is pure: it turns the caller's environment, flags and environment files into a value
//! that can be printed and compared. What the image makes of it is decided in [`crate::script`],
//! inside the container.
//!
//! ```text
//! host environment ──filter──► variables ┐
//! runtime variables ─────────► variables ├─► EnvironmentPlan ─► script phase ─► execve
//! SINGULARITYENV_ < APPTAINERENV_ < --env-file < --env ─► overrides ┘
//! ```
//!
//! Names and values are bytes: a variable that is no text passes through unharmed.

mod file;
mod overrides;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Serialize, Serializer};

pub use self::file::{EnvironmentFile, FileError, read_files};
use crate::report::Level;
use crate::request::instance::InstanceRole;
use crate::request::{LaunchRequest, OverrideOrigin};

/// `PATH` of a container whose scripts do not say otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What Apptainer appends to the caller's `PATH` when it hands it on as `USER_PATH`.
const USER_PATH_TAIL: &str = ":/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin";

/// Where `APPTAINER_ENVIRONMENT` points unless the image says otherwise.
pub const DYNAMIC_ENVIRONMENT: &str = "/.singularity.d/env/91-environment.sh";

/// The two spellings of every runtime variable.
const PREFIXES: [&str; 2] = ["APPTAINER_", "SINGULARITY_"];

/// Host variables that pass even with `--cleanenv`.
const ALWAYS_PASSED: [&str; 11] = [
    "TERM",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "ftp_proxy",
    "FTP_PROXY",
];

/// Host variables that never pass; `LD_LIBRARY_PATH` alone can still be an override.
const NEVER_PASSED: [&str; 3] = ["HOME", "PATH", "LD_LIBRARY_PATH"];

/// Something to tell the user; this crate prints nothing itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Notice {
    /// How loud.
    pub level: Level,
    /// What, without prefix and line end.
    pub text: String,
}

impl Notice {
    pub(crate) fn new(level: Level, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
        }
    }
}

/// One variable.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Variable {
    /// Name, not necessarily a shell identifier.
    #[serde(serialize_with = "lossy")]
    pub name: OsString,
    /// Value.
    #[serde(serialize_with = "lossy")]
    pub value: OsString,
}

/// A variable that wins over the image's scripts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Override {
    /// Name in the container; the specials `PATH`, `PREPEND_PATH` and `APPEND_PATH` appear as
    /// `SING_USER_DEFINED_…`, because the images' own scripts look for these names.
    #[serde(serialize_with = "lossy")]
    pub name: OsString,
    /// Value, before the evaluation in the container.
    #[serde(serialize_with = "lossy")]
    pub value: OsString,
    /// Who asked for it.
    #[serde(serialize_with = "origin")]
    pub origin: OverrideOrigin,
}

/// The payload's environment as far as it can be known outside the container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EnvironmentPlan {
    /// Host and runtime variables, by name, each once.
    pub variables: Vec<Variable>,
    /// Injected after the image's scripts, in this order, each name once.
    pub overrides: Vec<Override>,
    /// Override values are literal.
    pub no_eval: bool,
    /// What the user should know.
    pub notices: Vec<Notice>,
}

impl EnvironmentPlan {
    /// Sets variables that a device brings, in place of the host's of the same name. Those of
    /// `--env` and the like still win.
    pub fn set(&mut self, variables: Vec<(OsString, OsString)>) {
        for (name, value) in variables {
            if self.overrides.iter().any(|item| item.name == name) {
                continue;
            }
            match self.variables.binary_search_by(|item| item.name.cmp(&name)) {
                Ok(index) => {
                    if let Some(item) = self.variables.get_mut(index) {
                        item.value = value;
                    }
                }
                Err(index) => self.variables.insert(index, Variable { name, value }),
            }
        }
    }
}

/// Builds the environment for `request`.
///
/// `home` is the home directory's path in the container; `files` come from [`read_files`].
///
/// # Errors
/// An environment file that cannot be evaluated.
pub fn plan(
    request: &LaunchRequest,
    home: &Path,
    files: &[EnvironmentFile],
) -> Result<EnvironmentPlan, FileError> {
    let wish = &request.environment;
    let mut notices = Vec::new();
    let from_files = file::evaluate(files, request, &mut notices)?;
    let overrides = overrides::collect(wish, from_files, &mut notices);

    let mut variables = BTreeMap::new();
    if wish.clean {
        set(&mut variables, "LANG", "C");
    }
    for (name, value) in &wish.host {
        if passes(name, wish.clean) && !overrides.iter().any(|item| item.name == *name) {
            variables.insert(name.clone(), value.clone());
        }
    }
    if !wish.clean {
        let mut user_path = host_value(&wish.host, "PATH").unwrap_or_default();
        user_path.push(USER_PATH_TAIL);
        set(&mut variables, "USER_PATH", user_path);
    }
    set(&mut variables, "HOME", home);
    set(&mut variables, "PATH", DEFAULT_PATH);
    set_runtime(&mut variables, request);

    Ok(EnvironmentPlan {
        variables: variables
            .into_iter()
            .map(|(name, value)| Variable { name, value })
            .collect(),
        overrides,
        no_eval: wish.no_eval,
        notices,
    })
}

/// The runtime's own variables, in both spellings.
fn set_runtime(variables: &mut BTreeMap<OsString, OsString>, request: &LaunchRequest) {
    let mut both = |name: &str, value: &OsStr| {
        for prefix in PREFIXES {
            set(variables, format!("{prefix}{name}"), value);
        }
    };
    both("CONTAINER", request.image.path.as_os_str());
    both("NAME", &request.image.name);
    let destinations: Vec<&OsStr> = request
        .binds
        .iter()
        .map(|bind| bind.destination.as_os_str())
        .collect();
    both("BIND", &destinations.join(OsStr::new(",")));
    both(
        "APPNAME",
        request.app.as_deref().unwrap_or_default().as_ref(),
    );
    if let Some(shell) = &request.shell {
        both("SHELL", shell.as_os_str());
    }
    if let Some(instance) = &request.instance {
        both("INSTANCE", OsStr::new(&instance.name));
        if matches!(instance.role, InstanceRole::Join { master: true, .. }) {
            both("SHARENS_MASTER", OsStr::new("1"));
        }
    }
    if request.environment.no_eval {
        both("NO_EVAL", OsStr::new("1"));
    }
    set(variables, "APPTAINER_COMMAND", request.action.name());
}

/// Whether a host variable reaches the container at all.
fn passes(name: &OsStr, clean: bool) -> bool {
    let bytes = name.as_bytes();
    let reserved = [
        "APPTAINER_",
        "SINGULARITY_",
        "APPTAINERENV_",
        "SINGULARITYENV_",
    ];
    if reserved
        .iter()
        .any(|prefix| bytes.starts_with(prefix.as_bytes()))
    {
        return false;
    }
    if ALWAYS_PASSED.iter().any(|passed| name == *passed) {
        return true;
    }
    !clean && !NEVER_PASSED.iter().any(|omitted| name == *omitted)
}

fn host_value(host: &[(OsString, OsString)], name: &str) -> Option<OsString> {
    host.iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
}

fn set(
    variables: &mut BTreeMap<OsString, OsString>,
    name: impl Into<OsString>,
    value: impl Into<OsString>,
) {
    variables.insert(name.into(), value.into());
}

/// A printed plan shows replacement characters where a value is no UTF-8; the launch uses the
/// value itself.
fn lossy<S: Serializer>(text: &OsStr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_string_lossy())
}

// `serialize_with` hands over a reference to the field.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "signature demanded by serde"
)]
fn origin<S: Serializer>(origin: &OverrideOrigin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match origin {
        OverrideOrigin::SingularityEnv => "SINGULARITYENV",
        OverrideOrigin::ApptainerEnv => "APPTAINERENV",
        OverrideOrigin::File => "--env-file",
        OverrideOrigin::Flag => "--env",
    })
}
