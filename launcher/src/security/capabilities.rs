//! Capabilities: names, sets, and giving a process exactly some of them.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::config::capabilities::NAMES;

/// All that there are, those that kernels of the future may know included.
pub const ALL: u64 = u64::MAX;

/// The capability to send signals to other users.
pub const KILL: u64 = 1 << 5;

/// The capability that filters need.
pub const SYS_ADMIN: u64 = 1 << 21;

/// The number of a capability called `name`, with or without `CAP_`, in any case.
pub fn number(name: &str) -> Option<u32> {
    let name = name.trim().to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let index = NAMES.iter().position(|known| *known == name)?;
    u32::try_from(index).ok()
}

/// The set that `names` are, `all` being everything; names that there are not go to `unknown` in the
/// form in which they are searched.
pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>, mut unknown: impl FnMut(&str)) -> u64 {
    let mut set = 0;
    for name in names
        .into_iter()
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if name.eq_ignore_ascii_case("all") {
            set = ALL;
            continue;
        }
        match number(name) {
            Some(number) => set |= 1 << number,
            None => {
                let upper = name.to_ascii_uppercase();
                let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
                unknown(&format!("CAP_{bare}"));
            }
        }
    }
    set
}

/// Takes everything but `wanted` out of the set from which programs could get something back.
pub(super) fn bound(wanted: u64) {
    for bit in (0..u64::BITS).filter(|bit| wanted & (1 << bit) == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // EINVAL is the end of the kernel's list; EPERM means that we hold nothing that could
        // come back, because no new privileges are allowed either.
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
}

/// Makes the sets of this process `wanted`, as far as it holds that, so that a program started by it
/// has them too; `own` it keeps besides, for itself alone.
pub(super) fn set(wanted: u64, own: u64) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?.permitted;
    let own = held & CapabilitySet::from_bits_retain(wanted | own);
    let wanted = held & CapabilitySet::from_bits_retain(wanted);
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: own,
            permitted: own,
            inheritable: wanted,
        },
    )?;
    if wanted.is_empty() {
        // The kernel has emptied the ambient set along with the others.
        return Ok(());
    }
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(wanted.bits() & (1 << bit));
        // Where secure bits forbid it, the program has less and not more.
        if !capability.is_empty()
            && rustix::thread::configure_capability_in_ambient_set(capability, true).is_err()
        {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(number("CAP_CHOWN"), Some(0));
        assert_eq!(number("net_raw"), Some(13));
        assert_eq!(number("checkpoint_restore"), Some(40));
        assert_eq!(number("CAP_"), None);
        assert_eq!(1 << number("sys_admin").unwrap(), SYS_ADMIN);
        assert_eq!(1 << number("kill").unwrap(), KILL);
    }

    #[test]
    fn sets() {
        let mut strange = Vec::new();
        let set = parse(["net_raw", " CAP_KILL", "", "nonsense"], |name| {
            strange.push(name.to_owned());
        });
        assert_eq!(set, 1 << 13 | 1 << 5);
        assert_eq!(strange, ["CAP_NONSENSE"]);
        assert_eq!(parse(["kill", "ALL"], |_| ()), ALL);
    }
}
