//! What can keep a container from starting, worded so that a user can act on it.
//!
//! `Display` of the variants for which scripts look is Apptainer's own text (compat reference,
//! section 23), because the program prints it after `FATAL:   ` as it is.

use std::io;
use std::path::PathBuf;

use crate::environment::FileError;
use crate::mount::MountTag;
use crate::mount::overlay::OverlayError;
use crate::plan::WritingError;
use crate::script::ScriptError;

/// Failure of planning or of carrying the plan out.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The host's root directory cannot be a sandbox.
    #[error("/ as sandbox is not authorized")]
    RootAsSandbox,
    /// A configuration file exists but cannot be read.
    #[error("While initializing: couldn't parse configuration file {0}: {1}", path.display(), unreadable(path, source))]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A configuration file has a value that the directive cannot take.
    #[error("While initializing: couldn't parse configuration file {}: {reason}", path.display())]
    ConfigValue {
        /// The file.
        path: PathBuf,
        /// Which directive, and what it can be.
        reason: String,
    },
    /// The administrator has turned off what nothing can be run without.
    #[error(
        "Unprivileged installation found, user namepace needed but not allowed by configuration."
    )]
    NoUserNamespaces,
    /// The administrator does not let this image be run.
    #[error("{0}")]
    Refused(String),
    /// `--home`, where users may not choose what is bound.
    #[error(
        "container creation failed: not mounting user requested home: user bind control is disallowed"
    )]
    HomeRefused,
    /// A destination that is not absolute.
    #[error("container creation failed: unable to add {} to mount list: destination must be an absolute path", source_path.display())]
    RelativeDestination {
        /// Source of the mount.
        source_path: PathBuf,
    },
    /// A scratch destination that is not absolute.
    #[error("container creation failed: could not bind scratch directory {} into container: destination must be an absolute path", path.display())]
    RelativeScratch {
        /// As given.
        path: PathBuf,
    },
    /// `--home` with a destination that is not absolute.
    #[error("container creation failed: failed to add {} as session directory: path {} is not an absolute path", source_path.display(), path.display())]
    RelativeHome {
        /// Source, made absolute.
        source_path: PathBuf,
        /// Destination as given.
        path: PathBuf,
    },
    /// The source of a bind does not exist.
    #[error("container creation failed: mount hook function failure: mount {0}->{1} error: while mounting {0}: mount source {0} doesn't exist", source_path.display(), destination.display())]
    MissingSource {
        /// On the host.
        source_path: PathBuf,
        /// In the container.
        destination: PathBuf,
    },
    /// The destination of a mount does not exist and cannot be created.
    #[error("container creation failed: mount hook function failure: mount {0}->{1} error: while mounting {0}: destination {1} doesn't exist in container", source_path.display(), destination.display())]
    MissingDestination {
        /// What was to be mounted.
        source_path: PathBuf,
        /// In the container.
        destination: PathBuf,
    },
    /// `image-src=` names something that the image lacks.
    #[error("container creation failed: mount hook function failure: hook function for tag prelayer returns error: {} doesn't exist in image {}", path.display(), image.display())]
    NotInImage {
        /// In the image.
        path: PathBuf,
        /// The image.
        image: PathBuf,
    },
    /// The kernel refused a mount.
    #[error("container creation failed: mount hook function failure: mount {0}->{1} error: while mounting {0}: could not mount {0}: {reason}", source_path.display(), destination.display())]
    Mount {
        /// Which part of the mount order.
        tag: MountTag,
        /// What was to be mounted.
        source_path: PathBuf,
        /// In the container.
        destination: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// A directory under `--workdir` could not be created.
    #[error("container creation failed: failed to create {0}: mkdir {0}: {reason}", path.display())]
    WorkDirectory {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// A GPU or another device that the container cannot have.
    #[error("container creation failed: {reason}")]
    Gpu {
        /// Why.
        reason: String,
    },
    /// `--hostname` is no host name.
    #[error(
        "container creation failed: unable to add {name} to hostname file: {name} is not a valid hostname"
    )]
    Hostname {
        /// As given.
        name: String,
    },
    /// `--cwd` cannot be entered.
    #[error("failed to set working directory: chdir {}: {reason}", path.display())]
    WorkingDirectory {
        /// As given.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// No user namespace could be made.
    #[error(
        "container creation failed: could not create a user namespace: {reason}; unprivileged user namespaces are disabled or limited on this machine (see user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns)"
    )]
    UserNamespace {
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// The ids of a user namespace could not be mapped.
    #[error("container creation failed: could not map the ids of the user namespace: {reason}")]
    IdMap {
        /// What the helper or the kernel said.
        reason: String,
    },
    /// A security feature could not be set up.
    #[error("failed to apply security configuration: {reason}")]
    Security {
        /// Why.
        reason: String,
    },
    /// A seccomp profile is none.
    #[error("decoding seccomp profile failed: {}: {reason}", path.display())]
    SeccompProfile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// `--fakeroot` has no way to go.
    #[error("{reason}")]
    Fakeroot {
        /// Why, in Apptainer's words.
        reason: String,
    },
    /// The image's user namespace could not be joined.
    #[error(
        "container creation failed: could not join the user namespace of the mounted image: {reason}"
    )]
    JoinUserNamespace {
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// A new namespace other than the user's could not be made.
    #[error("container creation failed: could not create {namespaces} namespaces: {reason}")]
    Namespaces {
        /// Names, separated by commas.
        namespaces: String,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// The mount system calls that file descriptors need are missing.
    #[error("container creation failed: this kernel has no {call} (Linux 5.12 or newer is needed)")]
    OldKernel {
        /// The system call.
        call: &'static str,
    },
    /// The image could not be mounted.
    #[error("container creation failed: image driver mount failure")]
    Rootfs(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The plan needs a mounted image and nobody offered one.
    #[error("container creation failed: no provider for the image {}", path.display())]
    NoProvider {
        /// The image.
        path: PathBuf,
    },
    /// Wishes about writing that exclude each other or this image.
    #[error(transparent)]
    Writing(#[from] WritingError),
    /// An overlay could not be laid over the root.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// A step between entering namespaces and the program failed.
    #[error("container creation failed: {step}: {reason}")]
    Setup {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// No control group could be made, or a limit is not accepted.
    #[error("container creation failed: while applying cgroups config: {reason}")]
    Cgroups {
        /// Why.
        reason: String,
    },
    /// A network namespace cannot be joined.
    #[error("container creation failed: could not join the network namespace {}: {reason}", path.display())]
    Network {
        /// As given.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// `--netns-path` may not be used.
    #[error("{path:?} is not an allowed netns path in singularity.conf")]
    NetworkPath {
        /// As given.
        path: PathBuf,
    },
    /// `--netns-path` cannot be looked at.
    #[error("while checking netns path: stat {}: {reason}", path.display())]
    NetworkPathMissing {
        /// As given.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// Another process of the launch failed, and this is what it said.
    #[error("{reason}")]
    Relayed {
        /// Its words.
        reason: String,
    },
    /// A running instance could not be entered.
    #[error("could not join the {namespace} namespace of the instance: {reason}")]
    JoinInstance {
        /// Its kind.
        namespace: &'static str,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// The kernel cannot execute the program.
    #[error("exec {} failed: {reason}", path.display())]
    Exec {
        /// The program, as seen in the container.
        path: PathBuf,
        /// Why, in words.
        reason: String,
    },
    /// An environment file cannot be used.
    #[error(transparent)]
    EnvironmentFile(#[from] FileError),
    /// The image's scripts failed or the program was not found.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// Why a configuration file cannot be read, in the words of Go.
fn unreadable(path: &std::path::Path, error: &io::Error) -> String {
    let path = path.display();
    if error.kind() == io::ErrorKind::IsADirectory {
        return format!("while parsing data: while reading data: read {path}: is a directory");
    }
    format!("open {path}: {}", reason(error))
}

/// The C library's text for an error number, in lower case as Apptainer prints it.
pub fn reason(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let text = io::Error::from_raw_os_error(number).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    // Only a leading capital is lowered: "Input/output error" has words that stay as they are.
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}

/// As [`reason`], for errors of rustix.
pub(crate) fn errno_reason(error: rustix::io::Errno) -> String {
    reason(&io::Error::from(error))
}
