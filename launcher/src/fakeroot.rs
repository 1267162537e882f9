//! What this machine offers for `--fakeroot`, looked at only when that is asked for.
//!
//! ```text
//! /etc/subuid + newuidmap   a user namespace with root and 65536 more ids
//! root-mapped namespace     root alone; the fakeroot command makes other ids appear
//! neither                   the fakeroot command, or a filter that lets calls of root's succeed
//! ```

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::host::{GroupRecord, HostFacts, UserRecord};
use crate::idmap::{self, IdMap, subid};
use crate::kernel::{self, Fork};
use crate::programs;
use crate::request::identity::FakerootWish;

/// Directory of the container in which the command's files appear.
pub const LIBRARIES: &str = "/.singularity.d/libs";

/// File of the container that tells apt not to become another user: it would see that it did not.
pub const APT_CONFIGURATION: &str = "/.singularity.d/fakeroot/apt.conf";

/// Its directory.
pub const SETTINGS: &str = "/.singularity.d/fakeroot";

/// Its text.
pub const APT_SETTINGS: &str = "APT::Sandbox::User \"root\";\n";

/// Groups that a root-mapped namespace shows: its own, and the one of all that it does not map.
const SHOWN_GROUPS: [u32; 2] = [0, 65534];

/// The host's fakeroot command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FakerootCommand {
    /// The script that starts programs under it.
    pub script: PathBuf,
    /// Its daemon, which remembers owners.
    pub daemon: PathBuf,
    /// The library that is loaded into the programs.
    pub library: PathBuf,
    /// A program that the script needs and small images lack.
    pub getopt: Option<PathBuf>,
}

impl FakerootCommand {
    /// Files of the host and where they appear.
    pub fn files(&self) -> impl Iterator<Item = (&Path, PathBuf)> {
        [
            (Some(&self.script), "fakeroot"),
            (Some(&self.daemon), "faked"),
            (Some(&self.library), "libfakeroot.so"),
            (self.getopt.as_ref(), "getopt"),
        ]
        .into_iter()
        .filter_map(|(file, name)| Some((file?.as_path(), Path::new(LIBRARIES).join(name))))
    }

    /// Words before a program that runs under it, in the container.
    pub fn prefix() -> [String; 6] {
        let place = |name: &str| format!("{LIBRARIES}/{name}");
        [
            place("fakeroot"),
            "-f".to_owned(),
            place("faked"),
            "-l".to_owned(),
            place("libfakeroot.so"),
            "--".to_owned(),
        ]
    }
}

/// What there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FakerootFacts {
    /// The map of subordinate ids, or why there is none.
    pub subordinate: Result<IdMap, String>,
    /// A user namespace with the user as root can be made.
    pub can_map_root: bool,
    /// The command.
    pub command: Option<FakerootCommand>,
    /// Root, as the host knows him.
    pub root: UserRecord,
    /// Names of the groups that a root-mapped namespace shows.
    pub groups: Vec<GroupRecord>,
}

impl FakerootFacts {
    /// Looks as far as `wish` makes it necessary.
    pub fn probe(wish: FakerootWish, facts: &HostFacts) -> Self {
        let is_mapped_root = facts.is_mapped_root;
        let subordinate = if is_mapped_root || (wish.ignore_subuid && facts.uid != 0) {
            Err(String::new())
        } else {
            subordinate(facts)
        };
        let elsewise = subordinate.is_err();
        let can_map_root =
            elsewise && !is_mapped_root && !wish.ignore_userns && can_make_user_namespaces();
        let command = (elsewise && !wish.ignore_command)
            .then(find_command)
            .flatten();
        let groups = if elsewise { named_groups() } else { Vec::new() };
        Self {
            subordinate,
            can_map_root,
            command,
            root: UserRecord::of(0),
            groups,
        }
    }
}

fn subordinate(facts: &HostFacts) -> Result<IdMap, String> {
    let map = subid::map_of(&facts.user.name, facts.uid, facts.gid)?;
    // Root writes maps himself.
    if facts.uid != 0 {
        for helper in ["newuidmap", "newgidmap"] {
            if programs::find(helper).is_none() {
                return Err(format!("{helper} was not found in PATH"));
            }
        }
    }
    Ok(map)
}

fn named_groups() -> Vec<GroupRecord> {
    SHOWN_GROUPS
        .iter()
        .filter_map(|&gid| {
            let name = String::from_utf8_lossy(&kernel::group_name(gid)?).into_owned();
            Some(GroupRecord { gid, name })
        })
        .collect()
}

/// Whether the machine lets this user make user namespaces, tried in a child.
fn can_make_user_namespaces() -> bool {
    match kernel::fork() {
        Ok(Fork::Parent(child)) => waitpid(Pid::from_raw(child), WaitOptions::empty())
            .ok()
            .flatten()
            .is_some_and(|(_, status)| status.exit_status() == Some(0)),
        Ok(Fork::Child) => {
            let made = idmap::enter_new_user_namespace(
                &IdMap::single(0, 0),
                // A namespace that one may not mount in is of no use.
                UnshareFlags::NEWNS,
            );
            kernel::exit_now(i32::from(made.is_err()))
        }
        Err(_) => false,
    }
}

/// Finds the command; the kind that needs no network is looked for first.
fn find_command() -> Option<FakerootCommand> {
    ["fakeroot-sysv", "fakeroot"]
        .into_iter()
        .filter_map(programs::find)
        .find_map(|script| {
            let script = std::fs::canonicalize(script).ok()?;
            let text = std::fs::read(&script).ok()?;
            if text.len() > MAX_SCRIPT || !text.starts_with(b"#!") {
                return None;
            }
            let (daemon, libraries) = parts(&String::from_utf8_lossy(&text));
            let sibling = script.with_file_name("faked");
            let daemon = daemon
                .into_iter()
                .chain([sibling])
                .find(|it| it.is_file())?;
            let library = libraries.into_iter().find(|it| it.is_file())?;
            let real = |path: &Path| std::fs::canonicalize(path).ok();
            Some(FakerootCommand {
                daemon: real(&daemon)?,
                library: real(&library)?,
                getopt: programs::find("getopt").and_then(|file| real(&file)),
                script,
            })
        })
}

/// Real ones have some 4000 bytes.
const MAX_SCRIPT: usize = 256 * 1024;

/// Where the script `text` says that its daemon and its library are.
fn parts(text: &str) -> (Option<PathBuf>, Vec<PathBuf>) {
    let mut variables: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let wanted = [
            "FAKEROOT_PREFIX",
            "FAKEROOT_BINDIR",
            "FAKEROOT_LIB",
            "PATHS",
            "FAKED",
        ];
        // The first assignment is the built-in value; later ones are about arguments.
        if !wanted.contains(&name) || variables.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let mut value = value.trim_matches('"').to_owned();
        for (known, text) in &variables {
            value = value
                .replace(&format!("${{{known}}}"), text)
                .replace(&format!("${known}"), text);
        }
        variables.push((name, value));
    }
    let value = |wanted: &str| {
        variables
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };
    let library = value("FAKEROOT_LIB").unwrap_or("libfakeroot.so");
    let folders = value("PATHS").unwrap_or_default();
    let libraries = if library.starts_with('/') {
        vec![PathBuf::from(library)]
    } else {
        std::env::split_paths(OsStr::new(folders))
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(library))
            .collect()
    };
    (value("FAKED").map(PathBuf::from), libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_script() {
        let text = "#!/bin/sh\nFAKEROOT_PREFIX=/usr\nFAKEROOT_BINDIR=/usr/bin\nUSEABSLIBPATH=0\n\
            FAKEROOT_LIB=libfakeroot-sysv.so\n\
            PATHS=/usr/lib/x/libfakeroot:${FAKEROOT_PREFIX}/lib64/libfakeroot\n\
            FAKED=${FAKEROOT_BINDIR}/faked-sysv\n   PATHS=\nFAKED=\"$1\"\n";
        let (daemon, libraries) = parts(text);
        assert_eq!(daemon, Some(PathBuf::from("/usr/bin/faked-sysv")));
        assert_eq!(
            libraries,
            [
                PathBuf::from("/usr/lib/x/libfakeroot/libfakeroot-sysv.so"),
                PathBuf::from("/usr/lib64/libfakeroot/libfakeroot-sysv.so")
            ]
        );
        assert_eq!(parts("echo\n"), (None, Vec::new()));
    }
}
