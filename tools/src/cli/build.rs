//! Arguments of `build` and `pull`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::action::encryption::EncryptionArgs;
use super::remote::RemoteArgs;
use super::value::Strings;

/// Which of the images behind one name.
#[derive(Args, Clone, Debug, Default)]
pub struct PlatformArgs {
    /// Architecture of the image, such as amd64, arm64, ppc64le (default: this machine's)
    #[arg(long, value_name = "string")]
    pub arch: Option<String>,
    /// Variant of the architecture, such as v7
    #[arg(long, value_name = "string")]
    pub arch_variant: Option<String>,
}

/// What is built into, and from what kind of text.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetArgs {
    /// Build a directory instead of a SIF
    #[arg(long, short)]
    pub sandbox: bool,
    /// Overwrite what is there, labels and help of the base included
    #[arg(long, short = 'F')]
    pub force: bool,
    /// Run the definition on an existing directory (needs --sandbox)
    #[arg(long, short)]
    pub update: bool,
    /// Give the owner read and write permission on everything that comes from docker or OCI images
    #[arg(long)]
    pub fix_perms: bool,
    /// Encrypt the root file system
    #[arg(long, short)]
    pub encrypt: bool,
    /// How squashfs is written, in mksquashfs's words
    #[arg(long, value_name = "string", allow_hyphen_values = true)]
    pub mksquashfs_args: Option<OsString>,
    /// Lay the files that FILE lists together, in its order (a path a line; see SKIFF_ACCESS_LOG)
    #[arg(long, value_name = "FILE")]
    pub access_profile: Option<PathBuf>,
    /// Keep the build's directory when it fails
    #[arg(long)]
    pub no_cleanup: bool,
}

/// How a definition file is read and run.
#[derive(Args, Clone, Debug, Default)]
pub struct DefinitionArgs {
    /// Do not run the %test section
    #[arg(long, short = 'T')]
    pub notest: bool,
    /// Run only these sections: setup, post, files, environment, test, labels, none (default all)
    #[arg(long, value_name = "strings")]
    pub section: Vec<Strings>,
    /// Value for {{ VARIABLE }} in the definition, as VARIABLE=value
    #[arg(long, value_name = "strings")]
    pub build_arg: Vec<Strings>,
    /// File of such values, one a line
    #[arg(long, value_name = "string")]
    pub build_arg_file: Option<PathBuf>,
    /// Only warn about values that the definition does not use
    #[arg(long)]
    pub warn_unused_build_args: bool,
    /// The definition is JSON
    #[arg(long)]
    pub json: bool,
    /// Make a path of the host visible to %post and %test: src[:dest[:opts]]
    #[arg(long, short = 'B', value_name = "stringArray")]
    pub bind: Vec<OsString>,
    /// The same in long form, e.g. 'type=bind,source=/opt,destination=/hostopt'
    #[arg(long, value_name = "stringArray")]
    pub mount: Vec<OsString>,
    /// Bring the host's NVIDIA driver into %post and %test
    #[arg(long)]
    pub nv: bool,
    /// As --nv, but only what the image asks for
    #[arg(long)]
    pub nvccli: bool,
    /// Bring the host's ROCm libraries into %post and %test
    #[arg(long)]
    pub rocm: bool,
    /// Let %test write, to memory
    #[arg(long)]
    pub writable_tmpfs: bool,
    /// Run as root in the build; so it is for whoever is not root anyway
    #[arg(long, short)]
    pub fakeroot: bool,
    /// Use a user namespace even as root
    #[arg(long)]
    pub userns: bool,
    /// Do not use the ids of /etc/subuid
    #[arg(long, hide = true)]
    pub ignore_subuid: bool,
    /// Do not use the fakeroot command
    #[arg(long, hide = true)]
    pub ignore_fakeroot_command: bool,
    /// Do not use a user namespace in which the user is root
    #[arg(long, hide = true)]
    pub ignore_userns: bool,
    /// Makes no difference: PRoot is never used
    #[arg(long, hide = true)]
    pub ignore_proot: bool,
}

/// Where an image comes from, beside registries.
#[derive(Args, Clone, Debug, Default)]
pub struct OriginArgs {
    /// Not supported: libraries
    #[arg(long, value_name = "string", hide = true)]
    pub library: Option<String>,
    /// Directory for temporary files
    #[arg(long, value_name = "string", hide = true)]
    pub tmpdir: Option<PathBuf>,
}

/// `build`.
#[derive(Args, Clone, Debug, Default)]
pub struct BuildArgs {
    /// Target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Platform.
    #[command(flatten)]
    pub platform: PlatformArgs,
    /// Definition.
    #[command(flatten)]
    pub definition: DefinitionArgs,
    /// Encryption.
    #[command(flatten)]
    pub secret: EncryptionArgs,
    /// Origin.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Target and specification.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `pull`.
#[derive(Args, Clone, Debug, Default)]
pub struct PullArgs {
    /// Overwrite the file if there is one
    #[arg(long, short = 'F')]
    pub force: bool,
    /// Directory to put the file into
    #[arg(long, value_name = "string")]
    pub dir: Option<PathBuf>,
    /// Name of the file
    #[arg(long, value_name = "string", hide = true)]
    pub name: Option<PathBuf>,
    /// Make a directory instead of a SIF
    #[arg(long)]
    pub sandbox: bool,
    /// Write a small file that names the image, whose content is fetched when it is used
    #[arg(long)]
    pub lazy: bool,
    /// Tell how far it is on standard output, a JSON object a line (SKIFF_PROGRESS=json: any
    /// command, on standard error)
    #[arg(long)]
    pub json: bool,
    /// Platform.
    #[command(flatten)]
    pub platform: PlatformArgs,
    /// Makes no difference
    #[arg(long)]
    pub no_cleanup: bool,
    /// Makes no difference
    #[arg(long, short = 'U', hide = true)]
    pub allow_unsigned: bool,
    /// Makes no difference
    #[arg(long, hide = true)]
    pub allow_unauthenticated: bool,
    /// Origin.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// File and name.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}
