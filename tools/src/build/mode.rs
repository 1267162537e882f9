//! Who a build is: root, one way or the other.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use skiff_launcher::config::Config;
use skiff_launcher::host::HostFacts;
use skiff_launcher::idmap::{IdMap, IdRange};
use skiff_launcher::request::identity::{FakerootWish, IdentityWish};

use crate::cli::build::DefinitionArgs;
use crate::commands::elf;
use crate::output;

/// How the build is root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Mode {
    /// Ids of its user namespace; `None`: it stays in the caller's.
    pub(super) ids: Option<IdMap>,
    /// It is in another user namespace than the machine's first.
    pub(super) user_namespace: bool,
    /// Root owns everything there is, so that changes of owners have to be pretended.
    pub(super) alone: bool,
    /// How not to pretend.
    pub(super) wish: FakerootWish,
    /// What the fakeroot command cannot run without, if it is to be used: its loader.
    pub(super) loader: Option<String>,
}

impl Mode {
    /// Whether the build's root can be told whom `path` belongs to, and change it.
    pub(super) fn has_owner_of(&self, path: &Path) -> bool {
        let Some(ids) = &self.ids else {
            return true;
        };
        let within = |ranges: &[IdRange], id: u32| {
            ranges.iter().any(|range| {
                id.checked_sub(range.outside)
                    .is_some_and(|at| at < range.count)
            })
        };
        path.symlink_metadata()
            .is_ok_and(|it| within(&ids.users, it.uid()) && within(&ids.groups, it.gid()))
    }

    /// Whether that is so of a directory and what is in it directly.
    pub(super) fn has_owners_in(&self, path: &Path) -> bool {
        self.has_owner_of(path)
            && std::fs::read_dir(path).is_ok_and(|entries| {
                entries
                    .flatten()
                    .all(|entry| self.has_owner_of(&entry.path()))
            })
    }
}

/// The best way there is.
///
/// # Errors
/// None works on this machine.
pub(super) fn choose(args: &DefinitionArgs, config: &Config) -> anyhow::Result<Mode> {
    let wish = FakerootWish {
        ignore_subuid: args.ignore_subuid,
        ignore_userns: args.ignore_userns,
        ignore_command: args.ignore_fakeroot_command,
    };
    let mut facts = HostFacts::probe(config);
    if facts.uid == 0 && !args.userns {
        return Ok(Mode {
            ids: None,
            user_namespace: facts.is_mapped_root,
            alone: facts.is_mapped_root && IdMap::inherited_is_single(),
            wish,
            loader: None,
        });
    }
    let identity = IdentityWish {
        fakeroot: Some(wish),
        ..IdentityWish::default()
    };
    facts.look_for(&identity, config);
    let found = facts.fakeroot.take();
    let refusal = || {
        anyhow::anyhow!(
            "Building from a definition file unprivileged requires either a suid installation or \
             unprivileged user namespaces"
        )
    };
    let found = found.ok_or_else(refusal)?;
    if !config.allow_user_ns {
        return Err(refusal());
    }
    let root = |ids: IdMap, alone| Mode {
        ids: Some(ids),
        user_namespace: true,
        alone,
        wish,
        loader: None,
    };
    match found.subordinate {
        Ok(ids) => return Ok(root(ids, false)),
        Err(reason) if facts.uid != 0 && !wish.ignore_subuid => {
            output::verbose(format_args!("no subordinate ids for the build: {reason}"));
        }
        Err(_) => {}
    }
    if facts.uid != 0 {
        output::info("User not listed in /etc/subuid, trying root-mapped namespace");
    }
    if !found.can_map_root && facts.uid != 0 {
        return Err(refusal());
    }
    let mut mode = root(IdMap::single(0, 0), true);
    if let Some(command) = &found.command {
        output::info("The %post section will be run under the fakeroot command");
        let daemon = std::fs::read(&command.daemon).unwrap_or_default();
        mode.loader = elf::parse(&daemon).and_then(|elf| elf.interpreter);
    }
    Ok(mode)
}
