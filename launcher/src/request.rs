//! What the user wants, resolved from flags and variables: plain data, no I/O.

pub mod gpu;
pub mod identity;
pub mod instance;
pub mod limits;
pub mod writing;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use gpu::GpuWish;
use identity::IdentityWish;
use instance::InstanceWish;
use limits::LimitsWish;
use writing::{Layer, WritingWish};

/// Which program of the image is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `argv[0]` looked up in the container's PATH.
    Exec(Vec<OsString>),
    /// The runscript, with these arguments.
    Run(Vec<OsString>),
    /// An interactive shell: `$SINGULARITY_SHELL`, bash, or sh.
    Shell,
    /// The test script, with these arguments.
    Test(Vec<OsString>),
    /// The start script of an instance, with these arguments.
    Start(Vec<OsString>),
}

impl Action {
    /// The value of `APPTAINER_COMMAND`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Run(_) => "run",
            Self::Shell => "shell",
            Self::Test(_) => "test",
            Self::Start(_) => "start",
        }
    }
}

/// How the image becomes a root directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootKind {
    /// A file whose tree a [`crate::rootfs::RootfsProvider`] mounts.
    Mounted,
    /// A sandbox directory, bound as it is.
    Sandbox,
}

/// The image as the user named it and as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageRequest {
    /// Absolute path, symbolic links resolved: `APPTAINER_CONTAINER`.
    pub path: PathBuf,
    /// Base name of the path as given: `APPTAINER_NAME`.
    pub name: OsString,
    /// How it becomes a root.
    pub kind: RootKind,
}

/// One `src[:dst[:opts]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind {
    /// Path on the host as given; relative ones count from the working directory.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
    /// The source is an image, of which a part is bound.
    pub image: Option<ImageBind>,
}

/// The part of an image that is bound: `image-src=` and `id=`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageBind {
    /// Path in the image.
    pub inside: PathBuf,
    /// Number of the object in a SIF, as given.
    pub id: Option<String>,
    /// What was found there, once somebody looked.
    pub layer: Option<Layer>,
    /// The part is known to be no directory.
    pub is_file: bool,
}

/// What becomes of the home directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HomeWish {
    /// The passwd entry's home at the same path.
    #[default]
    Default,
    /// Not mounted (`--no-home`); `$HOME` is still set.
    None,
    /// `--home src[:dst]`.
    Custom {
        /// Directory on the host.
        source: PathBuf,
        /// Absolute path in the container.
        destination: PathBuf,
    },
}

/// Namespaces beyond user and mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NamespaceWish {
    /// New PID namespace.
    pub pid: bool,
    /// The program itself is PID 1 (`--no-init`).
    pub no_init: bool,
    /// New IPC namespace.
    pub ipc: bool,
    /// New UTS namespace.
    pub uts: bool,
    /// New network namespace with only loopback (`--net --network none`).
    pub net: bool,
}

/// Where an override of the payload's environment came from; a later variant is stronger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OverrideOrigin {
    /// `SINGULARITYENV_K=V` of the caller's environment.
    SingularityEnv,
    /// `APPTAINERENV_K=V` of the caller's environment.
    ApptainerEnv,
    /// `--env-file`.
    File,
    /// `--env`.
    Flag,
}

/// Wishes about the payload's environment (compat-runtime section 12).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EnvironmentWish {
    /// The caller's whole environment, in order, including `APPTAINERENV_*`.
    pub host: Vec<(OsString, OsString)>,
    /// Drop the host's variables.
    pub clean: bool,
    /// Take override values literally instead of evaluating them.
    pub no_eval: bool,
    /// `--env K=V`, in order.
    pub variables: Vec<(String, OsString)>,
    /// `--env-file`, in order: shell syntax, later wins.
    pub files: Vec<PathBuf>,
}

/// Everything `exec`, `run`, `shell` and `test` can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaunchRequest {
    /// What to start.
    pub action: Action,
    /// In which image.
    pub image: ImageRequest,
    /// Default prompt of shells, such as `Apptainer> `.
    pub prompt: String,
    /// `--bind`, `--mount` and their variables, in order.
    pub binds: Vec<Bind>,
    /// Home directory.
    pub home: HomeWish,
    /// Minimal /dev, empty home and temporary directories.
    pub contain: bool,
    /// `--no-mount`, each name once: proc, sys, dev, devpts, home, tmp, hostfs, cwd, bind-paths or
    /// an absolute destination.
    pub no_mount: Vec<String>,
    /// `--workdir`.
    pub workdir: Option<PathBuf>,
    /// `--scratch` destinations.
    pub scratch: Vec<PathBuf>,
    /// `--cwd`/`--pwd`.
    pub cwd: Option<PathBuf>,
    /// Logical working directory of the caller ($PWD when it names the real one).
    pub host_cwd: PathBuf,
    /// More namespaces.
    pub namespaces: NamespaceWish,
    /// `--hostname` (implies a UTS namespace).
    pub hostname: Option<String>,
    /// `--dns`: servers for a generated resolv.conf.
    pub dns: Vec<IpAddr>,
    /// Environment.
    pub environment: EnvironmentWish,
    /// umask 0022 instead of the caller's.
    pub no_umask: bool,
    /// `--shell` for the shell action.
    pub shell: Option<PathBuf>,
    /// SCIF app.
    pub app: Option<String>,
    /// The instance that is made or joined.
    pub instance: Option<InstanceWish>,
    /// Writing to the root.
    pub writing: WritingWish,
    /// Ids and privileges.
    pub identity: IdentityWish,
    /// GPUs.
    pub gpu: GpuWish,
    /// Limits and networks.
    pub limits: LimitsWish,
}
