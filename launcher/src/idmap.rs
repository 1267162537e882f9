//! Which ids of a user namespace are which ids outside, and entering a namespace made so.
//!
//! ```text
//! own       user 4242 is 4242, group likewise: what every ordinary launch has
//! single    one other id, as 0 for a mapped root
//! ranges    0 is the user, 1.. are the ids that /etc/subuid gives him: newuidmap(1) writes them
//! ```

pub mod subid;

use std::fmt;
use std::io::{self, Read, Write};
use std::process::Command;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;
use serde::Serialize;

use crate::error::{LaunchError, reason};
use crate::kernel::{self, Fork};
use crate::programs;

/// A run of ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct IdRange {
    /// First one in the namespace.
    pub inside: u32,
    /// First one outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The ids of a user namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct IdMap {
    /// Users; the caller's own comes first.
    pub users: Vec<IdRange>,
    /// Groups, likewise.
    pub groups: Vec<IdRange>,
}

impl IdMap {
    /// The calling process's user and group alone, as `uid` and `gid`.
    pub fn single(uid: u32, gid: u32) -> Self {
        let range = |inside, outside| {
            vec![IdRange {
                inside,
                outside,
                count: 1,
            }]
        };
        Self {
            users: range(uid, rustix::process::geteuid().as_raw()),
            groups: range(gid, rustix::process::getegid().as_raw()),
        }
    }

    /// The calling process's user and group under their own numbers.
    pub fn own() -> Self {
        Self::single(
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    }

    /// Whether the user namespace that the calling process is in has no other user than its own.
    pub fn inherited_is_single() -> bool {
        std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
            map.lines().count() == 1 && map.split_ascii_whitespace().nth(2) == Some("1")
        })
    }

    /// The user and group that the calling process will be.
    pub fn ids(&self) -> (u32, u32) {
        let first = |ranges: &[IdRange]| ranges.first().map_or(0, |range| range.inside);
        (first(&self.users), first(&self.groups))
    }

    /// Whether no other ids than the calling process's are in it.
    pub fn is_single(&self) -> bool {
        let single = |ranges: &[IdRange]| matches!(ranges, [range] if range.count == 1);
        single(&self.users) && single(&self.groups)
    }

    /// What `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (users, groups) = text.split_once('/')?;
        let ranges = |text: &str| {
            text.split(',')
                .map(|range| {
                    let mut numbers = range.split(':').map(|number| number.parse().ok());
                    let range = IdRange {
                        inside: numbers.next()??,
                        outside: numbers.next()??,
                        count: numbers.next()??,
                    };
                    numbers.next().is_none().then_some(range)
                })
                .collect::<Option<Vec<_>>>()
        };
        Some(Self {
            users: ranges(users)?,
            groups: ranges(groups)?,
        })
    }
}

/// `inside:outside:count,…/…`, users before groups.
impl fmt::Display for IdMap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ranges) in [&self.users, &self.groups].into_iter().enumerate() {
            if index > 0 {
                out.write_str("/")?;
            }
            for (index, range) in ranges.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let IdRange {
                    inside,
                    outside,
                    count,
                } = range;
                write!(out, "{comma}{inside}:{outside}:{count}")?;
            }
        }
        Ok(())
    }
}

/// Moves this single-threaded process into a new user namespace with the ids of `map`, together
/// with the other namespaces in `more`. Afterwards the process holds all capabilities inside.
///
/// # Errors
/// The machine does not let this user make user namespaces or map these ids, or `more` is refused.
pub fn enter_new_user_namespace(map: &IdMap, more: UnshareFlags) -> Result<(), LaunchError> {
    let failed = |error: io::Error| LaunchError::UserNamespace {
        reason: reason(&error),
    };
    if map.is_single() {
        kernel::unshare(UnshareFlags::NEWUSER | more).map_err(failed)?;
        return write_single(map).map_err(failed);
    }
    with_ranges(map, || {
        kernel::unshare(UnshareFlags::NEWUSER | more).map_err(failed)
    })
}

/// Writes the maps of the user namespace just entered.
fn write_single(map: &IdMap) -> io::Result<()> {
    // Without this the kernel refuses a group map from an ordinary user: dropping a group must not
    // become a way around "everybody but this group" permissions. The supplementary groups stay.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", lines(&map.users))?;
    std::fs::write("/proc/self/gid_map", lines(&map.groups))
}

/// The kernel's form of a map.
fn lines(ranges: &[IdRange]) -> String {
    ranges
        .iter()
        .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count))
        .collect()
}

/// Lets `enter` make the namespace while a child waits outside, which then writes its maps.
fn with_ranges(
    map: &IdMap,
    enter: impl FnOnce() -> Result<(), LaunchError>,
) -> Result<(), LaunchError> {
    let failed = |error: io::Error| LaunchError::IdMap {
        reason: reason(&error),
    };
    let pipe = || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| failed(error.into()))
            .map(|(read, write)| (std::fs::File::from(read), std::fs::File::from(write)))
    };
    let (mut wait, mut go) = pipe()?;
    let (mut answer, mut say) = pipe()?;
    let parent = rustix::process::getpid();
    let child = match kernel::fork().map_err(failed)? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop(go);
            drop(answer);
            let mut byte = [0];
            if wait.read_exact(&mut byte).is_ok()
                && let Err(text) = assign(map, parent)
            {
                // A parent that is gone need not be told.
                let _gone = say.write_all(text.as_bytes());
            }
            kernel::exit_now(0);
        }
    };
    drop(wait);
    drop(say);
    let entered = enter();
    if entered.is_ok() {
        // A child that is gone says so by the map that is missing.
        let _gone = go.write_all(&[1]);
    }
    drop(go);
    let mut text = String::new();
    let read = answer.read_to_string(&mut text);
    // Whoever ignores SIGCHLD has no children to wait for.
    let _status = waitpid(Pid::from_raw(child), WaitOptions::empty());
    entered?;
    read.map_err(failed)?;
    if text.is_empty() && rustix::process::geteuid().as_raw() == map.ids().0 {
        return Ok(());
    }
    Err(LaunchError::IdMap { reason: text })
}

/// Gives the namespace of the process `target` its maps, from outside: directly where we may, else
/// by the set-user-id helpers, which look into /etc/subuid themselves.
fn assign(map: &IdMap, target: Pid) -> Result<(), String> {
    for (helper, file, ranges) in [
        ("newuidmap", "uid_map", &map.users),
        ("newgidmap", "gid_map", &map.groups),
    ] {
        let path = format!("/proc/{}/{file}", target.as_raw_nonzero());
        if rustix::process::geteuid().is_root() && std::fs::write(path, lines(ranges)).is_ok() {
            continue;
        }
        let program = programs::find(helper).ok_or_else(|| {
            format!("{helper} was not found; it is part of the package uidmap or shadow-utils")
        })?;
        let output = Command::new(program)
            .env_clear()
            .arg(target.as_raw_nonzero().to_string())
            .args(ranges.iter().flat_map(|range| {
                [range.inside, range.outside, range.count].map(|number| number.to_string())
            }))
            .output()
            .map_err(|error| format!("{helper}: {}", reason(&error)))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{helper}: {}", text.trim()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let map = IdMap {
            users: vec![range(0, 1000, 1), range(1, 100_000, 65536)],
            groups: vec![range(0, 100, 1)],
        };
        assert_eq!(map.to_string(), "0:1000:1,1:100000:65536/0:100:1");
        assert_eq!(IdMap::parse(&map.to_string()), Some(map.clone()));
        assert!(!map.is_single());
        assert_eq!(map.ids(), (0, 0));
        assert!(IdMap::own().is_single());
        for wrong in [
            "",
            "/",
            "1:2:3",
            "1:2/1:2:3",
            "1:2:3:4/1:2:3",
            "a:1:1/0:0:1",
        ] {
            assert_eq!(IdMap::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lines_of_the_kernel() {
        assert_eq!(
            lines(&IdMap::single(0, 0).users),
            format!("0 {} 1\n", rustix::process::geteuid().as_raw())
        );
    }
}
