//! `instance …`: containers that run in the background under a name.

pub mod list;
mod pattern;
pub mod start;
pub mod stats;
pub mod stop;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args as _;
use skiff_launcher::instance::folder::Folder;
use skiff_launcher::instance::record::Live;
use skiff_launcher::instance::{InstanceError, SHARED_PREFIX};
use skiff_launcher::kernel::{self, PasswdRecord};

use super::EMPTY;
use crate::cli::Context;
use crate::cli::instance::{ListArgs, RunArgs, StartArgs, StatsArgs, StopArgs};
use crate::cli::value::parse_bool;
use crate::cli::verb::{Arity, Verb, call};

/// `instance …`
pub const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        about: "List all running and named instances",
        usage: "[list options...] [<instance name glob>]",
        examples: &[
            "instance list",
            "instance list 'test*'",
            "instance list --json",
        ],
        arity: Arity::Between(0, 1),
        augment: ListArgs::augment_args,
        run: |matches, context| call(matches, context, list::list),
        ..EMPTY
    },
    Verb {
        name: "run",
        about: "Run a named instance of the given container image",
        usage: "[run options...] <container path> <instance name> [runscript args...]",
        description: "\
As instance start, but what is run in the background is the runscript.",
        examples: &["instance run server.sif web --port 8080"],
        arity: Arity::AtLeast(2),
        augment: RunArgs::augment_args,
        run: |matches, context| call(matches, context, start::run),
        ..EMPTY
    },
    Verb {
        name: "start",
        about: "Start a named instance of the given container image",
        usage: "[start options...] <container path> <instance name> [startscript args...]",
        description: "\
Starts a container in the background. Its start script is run, if it has one;
programs are started in it as in an image, under the name instance://NAME.
Output of the start script is kept in the files that `instance list --logs`
shows.",
        examples: &[
            "instance start my-sql.sif mysql",
            "exec instance://mysql ps",
            "instance stop mysql",
        ],
        arity: Arity::AtLeast(2),
        augment: StartArgs::augment_args,
        run: |matches, context| call(matches, context, start::start),
        ..EMPTY
    },
    Verb {
        name: "stats",
        about: "Get stats for a named instance",
        usage: "[stats options...] <instance name>",
        examples: &["instance stats --no-stream mysql"],
        arity: Arity::Exactly(1),
        augment: StatsArgs::augment_args,
        run: |matches, context| call(matches, context, stats::stats),
        ..EMPTY
    },
    Verb {
        name: "stop",
        about: "Stop a named instance of a given container image",
        usage: "[stop options...] [instance]",
        description: "\
Sends SIGINT, or the signal asked for, and kills what has not ended in time.",
        examples: &[
            "instance stop mysql1",
            "instance stop 'mysql*'",
            "instance stop -s SIGTERM -t 30 mysql1",
            "instance stop --all",
        ],
        arity: Arity::Between(0, 1),
        augment: StopArgs::augment_args,
        run: |matches, context| call(matches, context, stop::stop),
        ..EMPTY
    },
];

/// The instances of the caller.
///
/// # Errors
/// The caller has no home directory.
pub(crate) fn own_folder(context: &Context) -> anyhow::Result<Folder> {
    let uid = rustix::process::geteuid().as_raw();
    let record = kernel::passwd_record(uid);
    let base = base(&context.environment, record.as_ref())?;
    Ok(Folder::new(&base, &user_name(uid, record.as_ref()), uid))
}

fn user_name(uid: u32, record: Option<&PasswdRecord>) -> String {
    record.map_or_else(
        || uid.to_string(),
        |record| String::from_utf8_lossy(&record.name).into_owned(),
    )
}

/// The directory of all instances' records: below Apptainer's own configuration directory.
fn base(
    environment: &[(OsString, OsString)],
    record: Option<&PasswdRecord>,
) -> anyhow::Result<PathBuf> {
    let variable = |wanted: &str| {
        environment
            .iter()
            .find(|(name, value)| name == wanted && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value))
    };
    let home = || variable("HOME").or_else(|| record.map(home_of));
    variable("APPTAINER_CONFIGDIR")
        .or_else(|| home().map(|home| home.join(".apptainer")))
        .and_then(|base| std::path::absolute(base).ok())
        .map(|base| base.join("instances"))
        .ok_or_else(|| {
            anyhow::anyhow!(
                "there is no home directory to keep records of instances in: set HOME or \
                 APPTAINER_CONFIGDIR"
            )
        })
}

fn home_of(record: &PasswdRecord) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(OsStr::from_bytes(&record.home))
}

/// The instances of `user`, or of the caller. `purpose` is what only root may do with others'.
fn folder_of(user: Option<&str>, purpose: &str, context: &Context) -> anyhow::Result<Folder> {
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return own_folder(context);
    };
    if !rustix::process::getuid().is_root() {
        anyhow::bail!("Only root user can {purpose} user's instances");
    }
    let Some((uid, record)) = kernel::passwd_entry(user) else {
        anyhow::bail!("While getting the instances of {user}: no user named {user}");
    };
    let base = home_of(&record).join(".apptainer/instances");
    Ok(Folder::new(Path::new(&base), user, uid))
}

/// The running instances whose names fit `pattern`; those of `--sharens` only where they are asked
/// for.
fn matching(folder: &Folder, pattern: &str, with_shared: bool) -> anyhow::Result<Vec<Live>> {
    Ok(folder.all(&|name| fits(pattern, name, with_shared))?)
}

fn fits(pattern: &str, name: &str, with_shared: bool) -> bool {
    (with_shared || name == pattern || !name.starts_with(SHARED_PREFIX))
        && pattern::fits(pattern, name)
}

/// The name in `instance://NAME`, as far as `image` is one.
pub(crate) fn name_in(image: &OsStr) -> Option<String> {
    image
        .to_string_lossy()
        .strip_prefix("instance://")
        .map(str::to_owned)
}

/// The running instance `name` of the caller, for a command that takes images.
///
/// # Errors
/// There is none.
pub(crate) fn find(name: &str, context: &Context) -> anyhow::Result<Live> {
    use anyhow::Context as _;
    own_folder(context)?
        .find(name)
        .context("While setting image/instance")
}

/// The value of a switch that the command line does not have, from `APPTAINER_<suffix>` or its
/// older spelling.
fn switch(given: bool, suffix: &str, context: &Context) -> bool {
    given
        || text(suffix, context)
            .is_some_and(|value| parse_bool(value.trim()).is_ok_and(|value| value))
}

/// As [`switch`], for a text.
fn text(suffix: &str, context: &Context) -> Option<String> {
    ["APPTAINER_", "SINGULARITY_"].iter().find_map(|prefix| {
        let wanted = format!("{prefix}{suffix}");
        context
            .environment
            .iter()
            .find(|(name, value)| *name == *wanted && !value.is_empty())
            .map(|(_, value)| value.to_string_lossy().into_owned())
    })
}

/// Apptainer's prefix for what goes wrong after everything was understood.
fn while_executing(error: InstanceError) -> anyhow::Error {
    match error {
        InstanceError::Name { .. } => anyhow::Error::from(error)
            .context("while executing starter: while checking instance name"),
        InstanceError::NotStarted { reason } => {
            anyhow::anyhow!("failed to start instance: {reason}")
        }
        other => other.into(),
    }
}
