//! The mount part of a plan: an ordered list of [`MountStep`]s, each of which puts one thing at
//! one place of the container.
//!
//! ```text
//! bind      src[:dst[:opts]] and --mount  -> request::Bind        (pure)
//! resolve   destinations inside the root, symbolic links included (no escape)
//! attach    one step carried out with descriptors, never with paths that could change meaning
//! device    the small /dev of contained runs
//! injection drivers of the host, placed where no image can lead them astray
//! session   tmpfs that holds generated files and empty directories
//! sandbox   a directory as root, with missing bind points laid over it
//! overlay   layers over the root: directories, images, memory
//! ```

pub mod attach;
pub mod bind;
pub mod device;
pub mod injection;
pub mod overlay;
pub mod resolve;
pub mod sandbox;
pub mod session;
pub mod tree;

use std::path::PathBuf;

use serde::Serialize;

use crate::gpu::glibc::GlibcVersion;
use crate::identity::{GroupEdit, PasswdEdit};

/// Chapters of the mount order; the words are the ones of Apptainer's messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountTag {
    /// Session tmpfs.
    Session,
    /// The image.
    Rootfs,
    /// /dev.
    Dev,
    /// Mounts directly under the host's root.
    Hostfs,
    /// Binds of the configuration.
    Binds,
    /// /proc and /sys.
    Kernel,
    /// Home directory.
    Home,
    /// /tmp and /var/tmp.
    Tmp,
    /// Scratch directories.
    Scratch,
    /// Generated files.
    Files,
    /// The user's binds.
    Userbinds,
    /// Working directory.
    Cwd,
}

impl MountTag {
    /// As messages spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Rootfs => "rootfs",
            Self::Dev => "dev",
            Self::Hostfs => "hostfs",
            Self::Binds => "binds",
            Self::Kernel => "kernel",
            Self::Home => "home",
            Self::Tmp => "tmp",
            Self::Scratch => "scratch",
            Self::Files => "files",
            Self::Userbinds => "userbinds",
            Self::Cwd => "cwd",
        }
    }
}

impl std::fmt::Display for MountTag {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a mount allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MountFlags {
    /// No writing. As in Apptainer this holds for the mount itself, not for mounts below it.
    pub read_only: bool,
    /// Set-user-id bits and file capabilities do nothing.
    pub no_suid: bool,
    /// Device nodes do nothing.
    pub no_dev: bool,
}

impl MountFlags {
    /// The usual flags of binds.
    pub const BIND: Self = Self {
        read_only: false,
        no_suid: true,
        no_dev: true,
    };
    /// Kernel file systems and devices keep what the host gave them.
    pub const KEEP: Self = Self {
        read_only: false,
        no_suid: false,
        no_dev: false,
    };
}

/// Which directories may be created for a host directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CreateDirectory {
    /// The directory itself, in an existing one.
    Last,
    /// It and all that lead to it.
    All,
}

/// Text of a generated file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileContent {
    /// Exactly this.
    Text(String),
    /// A copy of a file of the host.
    HostCopy(PathBuf),
    /// The image's passwd file with the user in it.
    Passwd(PasswdEdit),
    /// The image's group file with the user's groups in it.
    Group(GroupEdit),
}

/// The small /dev.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DeviceDirectory {
    /// Host paths under /dev that appear at the same place.
    pub nodes: Vec<PathBuf>,
    /// Terminal that appears as /dev/console.
    pub console: Option<PathBuf>,
    /// New pseudo-terminals at /dev/pts.
    pub pts: bool,
    /// POSIX message queues of the new IPC namespace.
    pub message_queues: bool,
    /// Group of new pseudo-terminals; none inside a user namespace that does not map it.
    pub tty_group: Option<u32>,
}

/// A library of the host for the container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HostLibrary {
    /// Name in the container, without directories.
    pub name: String,
    /// On the host.
    pub path: PathBuf,
    /// Version of the GNU C library that it cannot do without.
    pub needs: Option<GlibcVersion>,
}

/// What is put in place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A path of the host with everything mounted below it.
    Host {
        /// The path.
        path: PathBuf,
    },
    /// A directory of the host that is created when it is missing.
    HostDirectory {
        /// The path.
        path: PathBuf,
        /// Permission bits of what is created.
        mode: u32,
        /// How much may be created.
        create: CreateDirectory,
    },
    /// A part of an image that was mounted beside the root.
    Image {
        /// Which one, by its place in the plan.
        number: usize,
        /// The file, for messages.
        image: PathBuf,
        /// The part.
        inside: PathBuf,
    },
    /// An empty directory of the session tmpfs.
    EmptyDirectory {
        /// Permission bits.
        mode: u32,
    },
    /// A file of the session tmpfs.
    File(FileContent),
    /// A directory of the session tmpfs with libraries of the host in it.
    Libraries {
        /// The libraries, each name once.
        libraries: Vec<HostLibrary>,
        /// Names of empty files, for binds that follow.
        places: Vec<String>,
    },
    /// A file or directory of the host, exactly at the destination: a link there is covered.
    Injected {
        /// The path.
        path: PathBuf,
    },
    /// A /dev of the session tmpfs.
    Devices(DeviceDirectory),
    /// The processes of the new PID namespace.
    Proc,
    /// The kernel's objects, freshly mounted.
    Sysfs,
}

impl MountSource {
    /// How messages name it.
    pub fn label(&self) -> PathBuf {
        match self {
            Self::Host { path } | Self::HostDirectory { path, .. } | Self::Injected { path } => {
                path.clone()
            }
            Self::Libraries { .. } => PathBuf::from("libraries of the host"),
            Self::Image { image, .. } => image.clone(),
            Self::EmptyDirectory { .. } => PathBuf::from("tmpfs"),
            Self::File(FileContent::HostCopy(path)) => path.clone(),
            Self::File(_) => PathBuf::from("generated file"),
            Self::Devices(_) => PathBuf::from("/dev"),
            Self::Proc => PathBuf::from("proc"),
            Self::Sysfs => PathBuf::from("sysfs"),
        }
    }
}

/// What happens when the destination does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingDestination {
    /// It is created where the container is writable there; else the launch fails.
    CreateOrFail,
    /// The step is left out with a warning.
    Warn,
    /// The step is left out.
    Skip,
}

/// A test on the container just before the step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// None.
    Always,
    /// Unless the destination already is the source, or something is mounted exactly there.
    UnlessPresent,
    /// Unless the destination is the same directory as this one.
    UnlessSameAs(PathBuf),
}

/// One thing at one place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MountStep {
    /// Chapter.
    pub tag: MountTag,
    /// What.
    pub source: MountSource,
    /// Where in the container, absolute and lexically clean.
    pub destination: PathBuf,
    /// Flags.
    pub flags: MountFlags,
    /// When the destination does not exist.
    pub missing: MissingDestination,
    /// When to leave it out.
    pub condition: Condition,
}
