//! /etc/subuid and /etc/subgid: which ids an administrator has set aside for whom.
//!
//! A line is `user:first:count`, where the user is a name or a number; Apptainer marks entries that
//! `config fakeroot --disable` turned off by an exclamation mark before the user.

use std::path::Path;

use super::{IdMap, IdRange};

/// Where users' ranges are.
pub const SUBUID: &str = "/etc/subuid";

/// Where groups' ranges are.
pub const SUBGID: &str = "/etc/subgid";

/// Fewer ids than this do not make a whole root: as many as a distribution's users and nobody.
const NEEDED: u32 = 65536;

/// What an entry of `text` gives to the user; `file` is for messages.
///
/// # Errors
/// Why there is nothing for him, in Apptainer's words.
pub fn find(text: &str, file: &str, name: &str, uid: u32) -> Result<u32, String> {
    let mut too_small = false;
    let mut disabled = false;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(user), Some(first), Some(count), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let enabled = !user.starts_with('!');
        let user = user.trim_start_matches('!');
        if user != name && user.parse() != Ok(uid) {
            continue;
        }
        let (Ok(first), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else {
            continue;
        };
        if !enabled {
            disabled = true;
        } else if count < NEEDED || first == 0 || first.checked_add(NEEDED).is_none() {
            too_small = true;
        } else {
            return Ok(first);
        }
    }
    Err(if disabled {
        "your fakeroot mapping has been disabled by the administrator".to_owned()
    } else if too_small {
        format!("the mapping entry in {file} for {name} has fewer than {NEEDED} ids")
    } else {
        format!("no mapping entry found in {file} for {name}")
    })
}

/// The map that makes the calling process root and the ids set aside for it the others.
///
/// # Errors
/// Why there is none.
pub fn map_of(name: &str, uid: u32, gid: u32) -> Result<IdMap, String> {
    let ranges = |file: &str, own: u32| {
        let text = std::fs::read(Path::new(file)).unwrap_or_default();
        let first = find(&String::from_utf8_lossy(&text), file, name, uid)?;
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        Ok::<_, String>(vec![range(0, own, 1), range(1, first, NEEDED)])
    };
    Ok(IdMap {
        users: ranges(SUBUID, uid)?,
        groups: ranges(SUBGID, gid)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# comment\nann:100000:65536\nbob:200000:1000\nbob:300000:70000\n\
        77:400000:65536\n!eve:500000:65536\nbroken:x:65536\nshort:600000:10\nzed:0:65536\n\
        top:4294967290:65536\nextra:1:65536:9\n";

    fn found(name: &str, uid: u32) -> Result<u32, String> {
        find(TEXT, "/etc/subuid", name, uid)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(found("ann", 5), Ok(100_000));
        assert_eq!(found("carl", 77), Ok(400_000));
        // The first range that is large enough.
        assert_eq!(found("bob", 6), Ok(300_000));
    }

    #[test]
    fn refusals() {
        assert_eq!(
            found("nobody", 9),
            Err("no mapping entry found in /etc/subuid for nobody".to_owned())
        );
        assert!(found("eve", 9).unwrap_err().contains("disabled"));
        for small in ["short", "zed", "top"] {
            assert!(found(small, 9).unwrap_err().contains("fewer"), "{small}");
        }
        for broken in ["broken", "extra"] {
            assert!(found(broken, 9).is_err(), "{broken}");
        }
    }
}
