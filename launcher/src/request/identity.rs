//! Who the program is and what it may do: `--fakeroot`, `--userns`, capabilities, `--security`.

use std::path::PathBuf;

/// `--fakeroot`, and the ways to get there that are not to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FakerootWish {
    /// Not by ids of /etc/subuid.
    pub ignore_subuid: bool,
    /// Not by a user namespace in which the user is root.
    pub ignore_userns: bool,
    /// Not with the fakeroot command.
    pub ignore_command: bool,
}

/// Wishes about ids and privileges (compat-runtime sections 17 and 21).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdentityWish {
    /// Appear as root.
    pub fakeroot: Option<FakerootWish>,
    /// A user namespace even for root.
    pub userns: bool,
    /// `--add-caps`, as written.
    pub add_capabilities: Vec<String>,
    /// `--drop-caps`, as written.
    pub drop_capabilities: Vec<String>,
    /// `--keep-privs`.
    pub keep_privileges: bool,
    /// `--no-privs`.
    pub no_privileges: bool,
    /// `--allow-setuid`.
    pub allow_setuid: bool,
    /// `--security uid:N`.
    pub uid: Option<u32>,
    /// `--security gid:N[:N…]`, the primary group first.
    pub gids: Vec<u32>,
    /// `--security seccomp:FILE`: the file and its text.
    pub seccomp: Option<(PathBuf, String)>,
    /// `--security selinux:LABEL`.
    pub selinux: Option<String>,
    /// `--security apparmor:PROFILE`.
    pub apparmor: Option<String>,
}
