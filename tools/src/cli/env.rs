//! Environment variables that stand for flags.
//!
//! A flag absent from the command line takes `APPTAINER_X`, else `SINGULARITY_X` (with a remark);
//! a few flags add up what both give. The result is more command line: `--flag=value` words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::value::{parse_bool, parse_int};

/// How a variable's value is cut and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Bool,
    Int,
    Text,
    /// Items separated by commas, spaces around them dropped.
    List,
    /// One item, cut by the flag itself; adds to what the command line says.
    Append,
}

struct Row {
    flag: &'static str,
    suffixes: &'static [&'static str],
    shape: Shape,
    /// Counts only for commands that have this flag too; empty for all that have `flag`.
    beside: &'static str,
}

impl Row {
    const fn beside(self, flag: &'static str) -> Self {
        Self {
            beside: flag,
            ..self
        }
    }
}

const fn row(flag: &'static str, shape: Shape, suffixes: &'static [&'static str]) -> Row {
    Row {
        flag,
        suffixes,
        shape,
        beside: "",
    }
}

use Shape::{Append, Bool, Int, List, Text};

/// Flags before the command.
const GLOBAL: &[Row] = &[
    row("config", Text, &["CONFIG_FILE"]),
    row("debug", Bool, &["DEBUG"]),
    row("nocolor", Bool, &["NOCOLOR"]),
    row("quiet", Bool, &["QUIET"]),
    row("silent", Bool, &["SILENT"]),
    row("verbose", Bool, &["VERBOSE"]),
];

/// Flags behind it, in alphabetical order: the order in which they are looked at, and `--pwd`
/// being behind `--cwd` decides which of the two wins.
const LOCAL: &[Row] = &[
    row("add-caps", Text, &["ADD_CAPS"]),
    row("allow-setuid", Bool, &["ALLOW_SETUID"]),
    row("allow-unsigned", Bool, &["ALLOW_UNSIGNED"]),
    row("app", Text, &["APP", "APPNAME"]),
    row("apply-cgroups", Text, &["APPLY_CGROUPS"]),
    row("authfile", Text, &["AUTH_FILE"]),
    row("bind", Append, &["BIND", "BINDPATH"]),
    row("blkio-weight", Int, &["BLKIO_WEIGHT"]),
    row("blkio-weight-device", List, &["BLKIO_WEIGHT_DEVICE"]),
    row("boot", Bool, &["BOOT"]),
    row("certificate", Text, &["VERIFY_CERTIFICATE"]),
    row("certificate-intermediates", Text, &["VERIFY_INTERMEDIATES"]),
    row("certificate-roots", Text, &["VERIFY_ROOTS"]),
    row("cleanenv", Bool, &["CLEANENV"]),
    row("compat", Bool, &["COMPAT"]),
    row("contain", Bool, &["CONTAIN"]),
    row("containall", Bool, &["CONTAINALL"]),
    row("containlibs", List, &["CONTAINLIBS"]),
    row("cpu-shares", Int, &["CPU_SHARES"]),
    row("cpus", Text, &["CPU_SHARES"]),
    row("cpuset-cpus", Text, &["CPUSET_CPUS"]),
    row("cpuset-mems", Text, &["CPUSET_MEMS"]),
    row("cwd", Text, &["CWD", "TARGET_CWD"]),
    row("dir", Text, &["PULLDIR", "PULLFOLDER"]),
    row("disable-cache", Bool, &["DISABLE_CACHE"]),
    row("dmtcp-launch", Text, &["DMTCP_LAUNCH"]),
    row("dmtcp-restart", Text, &["DMTCP_RESTART"]),
    row("dns", Text, &["DNS"]),
    row("docker-host", Text, &["DOCKER_HOST"]),
    row("docker-login", Bool, &["DOCKER_LOGIN"]),
    row("docker-password", Text, &["DOCKER_PASSWORD"]),
    row("docker-username", Text, &["DOCKER_USERNAME"]),
    row("drop-caps", Text, &["DROP_CAPS"]),
    row("env-file", List, &["ENV_FILE"]),
    row("fakeroot", Bool, &["FAKEROOT"]),
    row("fix-perms", Bool, &["FIXPERMS"]),
    row("force", Bool, &["FORCE"]),
    row("fusemount", List, &["FUSESPEC"]),
    row("home", Text, &["HOME"]),
    row("hostname", Text, &["HOSTNAME"]),
    row(
        "ignore-fakeroot-command",
        Bool,
        &["IGNORE_FAKEROOT_COMMAND"],
    ),
    row("ignore-proot", Bool, &["IGNORE_PROOT"]),
    row("ignore-subuid", Bool, &["IGNORE_SUBUID"]),
    row("ignore-userns", Bool, &["IGNORE_USERNS"]),
    row("ipc", Bool, &["IPC", "UNSHARE_IPC"]),
    row("json", Bool, &["JSON"]),
    row("keep-privs", Bool, &["KEEP_PRIVS"]),
    row("key", Text, &["SIGN_KEY"]).beside("keyidx"),
    row("key", Text, &["VERIFY_KEY"]).beside("certificate"),
    row("keysdir", Text, &["KEYSDIR"]),
    row("library", Text, &["LIBRARY"]),
    row("local", Bool, &["LOCAL_VERIFY"]),
    row("memory", Text, &["MEMORY"]),
    row("memory-reservation", Text, &["MEMORY_RESERVATION"]),
    row("memory-swap", Text, &["MEMORY_SWAP"]),
    row("mksquashfs-args", Text, &["MKSQUASHFS_ARGS"]),
    row("mount", Append, &["MOUNT"]),
    row("name", Text, &["PULL_NAME"]),
    row("net", Bool, &["NET", "UNSHARE_NET"]),
    row("netns-path", Text, &["NETNS_PATH"]),
    row("network", Text, &["NETWORK"]),
    row("network-args", List, &["NETWORK_ARGS"]),
    row("no-cleanup", Bool, &["NO_CLEANUP"]),
    row("no-eval", Bool, &["NO_EVAL"]),
    row("no-home", Bool, &["NO_HOME"]),
    row("no-https", Bool, &["NOHTTPS", "NO_HTTPS"]),
    row("no-init", Bool, &["NOSHIMINIT"]),
    row("no-mount", List, &["NO_MOUNT"]),
    row("no-nv", Bool, &["NV_OFF", "NO_NV"]),
    row("no-pid", Bool, &["NO_PID"]),
    row("no-privs", Bool, &["NO_PRIVS"]),
    row("no-rocm", Bool, &["ROCM_OFF", "NO_ROCM"]),
    row("no-umask", Bool, &["NO_UMASK"]),
    row("notest", Bool, &["NOTEST"]),
    row("nv", Bool, &["NV"]),
    row("nvccli", Bool, &["NVCCLI"]),
    row("ocsp-verify", Bool, &["VERIFY_OCSP"]),
    row("oom-kill-disable", Bool, &["OOM_KILL_DISABLE"]),
    row("overlay", List, &["OVERLAY", "OVERLAYIMAGE"]),
    row("password", Text, &["LOGIN_PASSWORD"]).beside("username"),
    row("pid", Bool, &["PID", "UNSHARE_PID"]),
    row("pid-file", Text, &["PID_FILE"]),
    row("pids-limit", Int, &["PIDS_LIMIT"]),
    row("pwd", Text, &["PWD", "TARGET_PWD"]),
    row("rocm", Bool, &["ROCM"]),
    row("runscript-timeout", Text, &["RUNSCRIPT_TIMEOUT"]),
    row("sandbox", Bool, &["SANDBOX"]),
    row("scratch", List, &["SCRATCH", "SCRATCHDIR"]),
    row("section", List, &["SECTION"]),
    row("security", List, &["SECURITY"]),
    row("sharens", Bool, &["SHARENS"]),
    row("shell", Text, &["SHELL"]),
    row("tmpdir", Text, &["TMPDIR"]),
    row("underlay", Bool, &["UNDERLAY"]),
    row("unsquash", Bool, &["UNSQUASH"]),
    row("update", Bool, &["UPDATE"]),
    row("username", Text, &["LOGIN_USERNAME"]),
    row("userns", Bool, &["USERNS", "UNSHARE_USERNS"]),
    row("uts", Bool, &["UTS", "UNSHARE_UTS"]),
    row("workdir", Text, &["WORKDIR"]),
    row("writable", Bool, &["WRITABLE"]),
    row("writable-tmpfs", Bool, &["WRITABLE_TMPFS"]),
];

/// A remark on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remark {
    /// `INFO:`
    Info(String),
    /// `WARNING:`
    Warning(String),
}

/// What the environment adds to a command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Additions {
    /// Words to go behind the flags of the command line.
    pub words: Vec<OsString>,
    /// To be printed, in order.
    pub remarks: Vec<Remark>,
    /// Values that could not be used, one line each; fatal.
    pub failures: Vec<String>,
}

/// The caller's environment.
pub type Environment = [(OsString, OsString)];

/// Which part of the command line is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Before the command.
    Global,
    /// Behind it.
    Local,
}

/// Looks up the variables of every flag for which `knows` holds; `given` tells which ones the
/// command line has.
pub fn additions(
    scope: Scope,
    environment: &Environment,
    knows: impl Fn(&str) -> bool,
    given: impl Fn(&str) -> bool,
) -> Additions {
    let mut found = Additions::default();
    let prefixed = environment.iter().any(|(name, _)| {
        name.as_bytes().starts_with(b"APPTAINER_") || name.as_bytes().starts_with(b"SINGULARITY_")
    });
    if !prefixed {
        return found;
    }
    let rows = match scope {
        Scope::Global => GLOBAL,
        Scope::Local => LOCAL,
    };
    let wanted = |row: &&Row| knows(row.flag) && (row.beside.is_empty() || knows(row.beside));
    for row in rows.iter().filter(wanted) {
        let mut settled = given(row.flag);
        for suffix in row.suffixes {
            let Some(value) = lookup(environment, suffix, &mut found.remarks) else {
                continue;
            };
            if value.as_bytes().trim_ascii().is_empty() || (settled && row.shape != Append) {
                continue;
            }
            match words(row, value) {
                Ok(words) => found.words.extend(words),
                Err(reason) => found.failures.push(format!(
                    "unable to set flag {} to value {}: {reason}",
                    row.flag,
                    value.display()
                )),
            }
            settled = true;
        }
    }
    found
}

/// Finds `APPTAINER_<suffix>` or its legacy name.
fn lookup<'a>(
    environment: &'a Environment,
    suffix: &str,
    remarks: &mut Vec<Remark>,
) -> Option<&'a OsStr> {
    let find = |prefix: &str| {
        environment.iter().find_map(|(name, value)| {
            name.as_bytes()
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| rest == suffix.as_bytes())
                .then_some(value.as_os_str())
        })
    };
    match (find("APPTAINER_"), find("SINGULARITY_")) {
        (Some(value), Some(legacy)) => {
            if value != legacy {
                remarks.push(Remark::Warning(format!(
                    "SINGULARITY_{suffix} and APPTAINER_{suffix} have different values, using the \
                     latter"
                )));
            }
            Some(value)
        }
        (Some(value), None) => Some(value),
        (None, Some(legacy)) => {
            remarks.push(Remark::Info(format!(
                "Environment variable SINGULARITY_{suffix} is set, but APPTAINER_{suffix} is \
                 preferred"
            )));
            Some(legacy)
        }
        (None, None) => None,
    }
}

fn words(row: &Row, value: &OsStr) -> Result<Vec<OsString>, String> {
    let trimmed = OsStr::from_bytes(value.as_bytes().trim_ascii());
    let word = |value: &OsStr| {
        let mut word = OsString::from(format!("--{}=", row.flag));
        word.push(value);
        word
    };
    match row.shape {
        Bool => parse_bool(&trimmed.to_string_lossy()).map(|_| vec![word(trimmed)]),
        Int => parse_int(&trimmed.to_string_lossy()).map(|_| vec![word(trimmed)]),
        Text => Ok(vec![word(trimmed)]),
        // Spaces around commas are dropped, but what a comma separates is the flag's matter.
        Append => {
            let items: Vec<&[u8]> = trimmed
                .as_bytes()
                .split(|&byte| byte == b',')
                .map(<[u8]>::trim_ascii)
                .collect();
            Ok(vec![word(OsStr::from_bytes(&items.join(&b',')))])
        }
        List => Ok(trimmed
            .as_bytes()
            .split(|&byte| byte == b',')
            .map(|item| word(OsStr::from_bytes(item.trim_ascii())))
            .collect()),
    }
}

#[cfg(test)]
mod tests;
