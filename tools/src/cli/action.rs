//! Arguments of `exec`, `run`, `shell` and `test`.

pub mod encryption;
pub mod gpu;
pub mod identity;
pub mod limits;
pub mod writing;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use self::encryption::EncryptionArgs;
use self::gpu::GpuArgs;
use self::identity::IdentityArgs;
use self::limits::LimitsArgs;
use self::writing::WritingArgs;

use super::accepted::OtherFlags;
use super::remote::RemoteArgs;
use super::value::{Assignments, Strings};

/// What is mounted where.
#[derive(Args, Clone, Debug)]
pub struct MountArgs {
    /// Make a path of the host visible in the container: src[:dest[:opts]], where dest is src
    /// when absent and opts is ro or rw; several separated by commas
    #[arg(long, short = 'B', value_name = "stringArray")]
    pub bind: Vec<OsString>,
    /// A mount in long form, e.g. 'type=bind,source=/opt,destination=/hostopt'
    #[arg(long, value_name = "stringArray")]
    pub mount: Vec<OsString>,
    /// Home directory: a path of the host, or src:dest to give it another place in the container
    #[arg(long, short = 'H', value_name = "string")]
    pub home: Option<OsString>,
    /// Do not mount the home directory
    #[arg(long)]
    pub no_home: bool,
    /// Leave out one of the usual mounts: proc, sys, dev, devpts, home, tmp, hostfs, cwd,
    /// bind-paths, or the destination of a configured bind
    #[arg(long, value_name = "strings")]
    pub no_mount: Vec<Strings>,
    /// Use a minimal /dev and empty home and temporary directories
    #[arg(long, short)]
    pub contain: bool,
    /// Contain files, processes, IPC and environment
    #[arg(long, short = 'C')]
    pub containall: bool,
    /// As OCI runtimes have it: --containall --no-init --no-umask --no-eval --writable-tmpfs
    #[arg(long)]
    pub compat: bool,
    /// Directory of the host for /tmp, /var/tmp and home (with --contain) and for --scratch
    #[arg(long, short = 'W', value_name = "string")]
    pub workdir: Option<PathBuf>,
    /// Provide an empty directory at this path
    #[arg(long, short = 'S', value_name = "strings")]
    pub scratch: Vec<Strings>,
    /// Working directory of the program in the container
    #[arg(long, value_name = "string", overrides_with = "pwd")]
    pub cwd: Option<PathBuf>,
    /// Same as --cwd
    #[arg(long, value_name = "string", overrides_with = "cwd", hide = true)]
    pub pwd: Option<PathBuf>,
    /// Run this application (SCIF) of the container
    #[arg(long, value_name = "string")]
    pub app: Option<String>,
}

/// What the program finds in its environment.
#[derive(Args, Clone, Debug)]
pub struct EnvironmentArgs {
    /// Leave the caller's variables out
    #[arg(long, short = 'e')]
    pub cleanenv: bool,
    /// Set variables for the program in the container
    #[arg(long, value_name = "stringToString")]
    pub env: Vec<Assignments>,
    /// Set variables from files in shell syntax
    #[arg(long, value_name = "strings")]
    pub env_file: Vec<Strings>,
    /// Take values of variables literally instead of evaluating them as a shell would
    #[arg(long)]
    pub no_eval: bool,
    /// Give the container the umask 0022 instead of the caller's
    #[arg(long)]
    pub no_umask: bool,
}

/// What is shared with the host.
#[derive(Args, Clone, Debug)]
pub struct NamespaceArgs {
    /// Run in a new PID namespace
    #[arg(long, short)]
    pub pid: bool,
    /// Never run in a new PID namespace
    #[arg(long)]
    pub no_pid: bool,
    /// Let the program itself be process 1 of a new PID namespace
    #[arg(long)]
    pub no_init: bool,
    /// Share one container among the programs that one process starts so
    #[arg(long)]
    pub sharens: bool,
    /// Run in a new IPC namespace
    #[arg(long, short)]
    pub ipc: bool,
    /// Run in a new UTS namespace
    #[arg(long)]
    pub uts: bool,
    /// Host name in the container; implies --uts
    #[arg(long, value_name = "string")]
    pub hostname: Option<String>,
    /// Run in a new network namespace
    #[arg(long, short)]
    pub net: bool,
    /// Kind of network: none, which has only a loopback interface; implies --net
    #[arg(long, value_name = "string")]
    pub network: Option<String>,
    /// Name servers, separated by commas, for the container's resolv.conf
    #[arg(long, value_name = "string")]
    pub dns: Option<String>,
}

/// What skiff offers beyond Apptainer.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Print what would be done instead of doing it
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options that all four commands have.
#[derive(Args, Clone, Debug)]
pub struct ActionArgs {
    /// Mounts.
    #[command(flatten)]
    pub mounts: MountArgs,
    /// Environment.
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// Namespaces.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// Writing to the root.
    #[command(flatten)]
    pub writing: WritingArgs,
    /// Ids and privileges.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// GPUs.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// Limits and networks.
    #[command(flatten)]
    pub limits: LimitsArgs,
    /// The image's key.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// The flags of Apptainer that change nothing here, or are still to come.
    #[command(flatten)]
    pub others: OtherFlags,
}

/// `exec` and `test`.
#[derive(Args, Clone, Debug)]
pub struct ProgramArgs {
    /// Options.
    #[command(flatten)]
    pub options: ActionArgs,
    /// The image and everything behind it, verbatim.
    #[arg(trailing_var_arg = true, value_name = "container", hide = true)]
    pub words: Vec<OsString>,
}

/// `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Options and words.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// Time for commands that are run while the runscript is evaluated
    #[arg(long, value_name = "string")]
    pub runscript_timeout: Option<String>,
}

/// `shell`.
#[derive(Args, Clone, Debug)]
pub struct ShellArgs {
    /// Options.
    #[command(flatten)]
    pub options: ActionArgs,
    /// Program to use as interactive shell
    #[arg(long, short, value_name = "string")]
    pub shell: Option<PathBuf>,
    /// The image and everything behind it.
    #[arg(trailing_var_arg = true, value_name = "container", hide = true)]
    pub words: Vec<OsString>,
}
