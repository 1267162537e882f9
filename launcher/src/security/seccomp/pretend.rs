//! The filter of a root who is none: what only root may do succeeds and does nothing.
//!
//! A package manager gives files away, makes device nodes and changes its own ids. Where the ids
//! do not exist that must fail, and the installation with it; that files stay the user's own is what
//! everybody else sees anyway.

use super::assemble::{Comparison, Instruction, Rule, Test, program};
use super::names;

/// Calls that only change owners, ids or capabilities.
const PRETENDED: [&str; 14] = [
    "capset",
    "chown",
    "fchown",
    "fchownat",
    "lchown",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
];

/// Calls that tell who one is.
const ASKED: [&str; 4] = ["getuid", "geteuid", "getgid", "getegid"];

/// Calls that make nodes, and which argument says of what kind.
const NODES: [(&str, u32); 2] = [("mknod", 1), ("mknodat", 2)];

/// Bits of the kind of a file in its mode.
const KIND: u64 = libc::S_IFMT as u64;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
/// An error that is none: the call returns 0.
const SUCCEED: u32 = libc::SECCOMP_RET_ERRNO;

/// The program; with `ids` also whoever asks is told that he is user and group 0.
pub fn pretend_root(ids: bool) -> Vec<Instruction> {
    let mut rules: Vec<Rule> = PRETENDED
        .iter()
        .chain(ASKED.iter().filter(|_| ids))
        .filter_map(|name| names::number(name))
        .map(|number| Rule {
            number,
            tests: Vec::new(),
            action: SUCCEED,
        })
        .collect();
    for (name, argument) in NODES {
        let Some(number) = names::number(name) else {
            continue;
        };
        for kind in [libc::S_IFCHR, libc::S_IFBLK] {
            rules.push(Rule {
                number,
                tests: vec![Test {
                    argument,
                    comparison: Comparison::MaskedEqual(KIND),
                    value: u64::from(kind),
                }],
                action: SUCCEED,
            });
        }
    }
    // Programs of another architecture go without.
    program(&rules, ALLOW, ALLOW).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::assemble::{ARCHITECTURE, run};
    use super::*;

    fn answer(ids: bool, name: &str, arguments: [u64; 6]) -> u32 {
        let number = names::number(name).unwrap();
        run(&pretend_root(ids), ARCHITECTURE, number, arguments)
    }

    #[test]
    fn owners_and_ids() {
        for name in ["fchownat", "setgroups", "setresuid", "capset"] {
            assert_eq!(answer(false, name, [7; 6]), SUCCEED, "{name}");
        }
        for name in ["openat", "write", "execve", "getuid"] {
            assert_eq!(answer(false, name, [7; 6]), ALLOW, "{name}");
        }
        assert_eq!(answer(true, "geteuid", [0; 6]), SUCCEED);
    }

    #[test]
    fn nodes_of_devices_only() {
        let mode = |kind: u32| [0, 0, u64::from(kind | 0o644), 0, 0, 0];
        assert_eq!(answer(false, "mknodat", mode(libc::S_IFCHR)), SUCCEED);
        assert_eq!(answer(false, "mknodat", mode(libc::S_IFBLK)), SUCCEED);
        for kind in [libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK, 0] {
            assert_eq!(answer(false, "mknodat", mode(kind)), ALLOW);
        }
    }
}
