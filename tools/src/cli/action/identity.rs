//! Flags: who the program is and what it may do: `--fakeroot`, `--userns`, capabilities, `--security`.

use clap::Args;

use crate::cli::value::Strings;

/// Wishes about ids and privileges (compat-runtime sections 17 and 21).
#[derive(Args, Clone, Debug, Default)]
pub struct IdentityArgs {
    /// Appear as root in the container
    #[arg(long, short)]
    pub fakeroot: bool,
    /// With --fakeroot: do not use the ids of /etc/subuid
    #[arg(long, hide = true)]
    pub ignore_subuid: bool,
    /// With --fakeroot: do not use the fakeroot command
    #[arg(long, hide = true)]
    pub ignore_fakeroot_command: bool,
    /// With --fakeroot: do not use a user namespace in which the user is root
    #[arg(long, hide = true)]
    pub ignore_userns: bool,
    /// Run in a new user namespace; always done where it is needed
    #[arg(long, short)]
    pub userns: bool,
    /// Capabilities to add, separated by commas
    #[arg(long, value_name = "string")]
    pub add_caps: Option<String>,
    /// Capabilities to drop, separated by commas
    #[arg(long, value_name = "string")]
    pub drop_caps: Option<String>,
    /// Let root keep its privileges (root only)
    #[arg(long)]
    pub keep_privs: bool,
    /// Drop all privileges of root in the container
    #[arg(long)]
    pub no_privs: bool,
    /// Let set-uid programs of the image work (root only)
    #[arg(long)]
    pub allow_setuid: bool,
    /// Security features: uid:N, gid:N[:N...], seccomp:FILE, selinux:LABEL, apparmor:PROFILE
    #[arg(long, value_name = "strings")]
    pub security: Vec<Strings>,
}
