//! Profiles in the JSON form of Docker and the OCI, which Apptainer takes for `--security seccomp:`.
//!
//! A 32-bit program on a 64-bit machine makes calls by other numbers, which are not known here: it
//! gets an error for every call where the profile has restrictions at all.

use std::fmt;

use serde::Deserialize;

use super::assemble::{Comparison, Instruction, Rule, Test, program};
use super::names;
use crate::security::capabilities;

/// What a profile may make its rules depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The program's capabilities.
    pub capabilities: u64,
    /// Version of the kernel: major, minor.
    pub kernel: (u32, u32),
}

/// What is wrong with a profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileError(String);

impl fmt::Display for ProfileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ProfileError {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Name of this architecture in conditions.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE_NAME: &str = "amd64";
/// Name of this architecture in conditions.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE_NAME: &str = "arm64";
/// Name of this architecture in conditions.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE_NAME: &str = std::env::consts::ARCH;

/// The error that refused calls give unless the profile says otherwise: EPERM.
const DEFAULT_ERROR: u32 = libc::EPERM as u32;

/// Compiles the profile `text`.
///
/// # Errors
/// It is not such a profile, or longer than the kernel takes.
pub fn compile(text: &str, held: Held) -> Result<Vec<Instruction>, ProfileError> {
    let profile: Profile =
        serde_json::from_str(text).map_err(|error| ProfileError(error.to_string()))?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut rules = Vec::new();
    for entry in profile.syscalls.iter().flatten() {
        if !applies(entry, held) {
            continue;
        }
        let action = action(&entry.action, entry.errno_ret)?;
        // Calls that this architecture does not have, or a kernel of today not yet.
        let numbers = entry
            .names
            .iter()
            .flatten()
            .chain(&entry.name)
            .filter_map(|name| names::number(name));
        let tests = tests(entry.args.as_deref().unwrap_or_default())?;
        for number in numbers {
            for tests in &tests {
                rules.push(Rule {
                    number,
                    tests: tests.clone(),
                    action,
                });
            }
        }
    }
    let restricts = default != libc::SECCOMP_RET_ALLOW
        || rules
            .iter()
            .any(|rule| rule.action != libc::SECCOMP_RET_ALLOW);
    let foreign = if restricts {
        libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).unwrap_or(DEFAULT_ERROR)
    } else {
        libc::SECCOMP_RET_ALLOW
    };
    program(&rules, default, foreign)
        .ok_or_else(|| ProfileError("it is longer than the kernel takes".to_owned()))
}

/// Whether the conditions of an entry are met.
fn applies(entry: &Entry, held: Held) -> bool {
    let has = |name: &String| {
        capabilities::number(name).is_some_and(|bit| held.capabilities & (1 << bit) != 0)
    };
    let here = |name: &String| name == ARCHITECTURE_NAME;
    let new_enough = |version: &String| {
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        held.kernel >= (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    let included = entry.includes.as_ref().is_none_or(|wanted| {
        wanted.caps.iter().flatten().all(has)
            && wanted
                .arches
                .as_ref()
                .filter(|list| !list.is_empty())
                .is_none_or(|list| list.iter().any(here))
            && wanted.min_kernel.as_ref().is_none_or(new_enough)
    });
    let excluded = entry.excludes.as_ref().is_some_and(|unwanted| {
        unwanted.caps.iter().flatten().any(has)
            || unwanted.arches.iter().flatten().any(here)
            || unwanted.min_kernel.as_ref().is_some_and(new_enough)
    });
    included && !excluded
}

fn action(name: &str, error: Option<u32>) -> Result<u32, ProfileError> {
    // An error number is 16 bits of the answer.
    let error = error.unwrap_or(DEFAULT_ERROR) & 0xffff;
    Ok(match name {
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        "SCMP_ACT_ERRNO" => libc::SECCOMP_RET_ERRNO | error,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | error,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        _ => return Err(ProfileError(format!("unrecognized action {name:?}"))),
    })
}

/// The tests of a rule; conditions on one argument are alternatives, on several they all count.
fn tests(arguments: &[Argument]) -> Result<Vec<Vec<Test>>, ProfileError> {
    let tests = arguments
        .iter()
        .map(|argument| {
            if argument.index > 5 {
                return Err(ProfileError(format!(
                    "system calls have no argument {}",
                    argument.index
                )));
            }
            let (comparison, value) = match argument.op.as_str() {
                "SCMP_CMP_NE" => (Comparison::NotEqual, argument.value),
                "SCMP_CMP_LT" => (Comparison::Less, argument.value),
                "SCMP_CMP_LE" => (Comparison::LessOrEqual, argument.value),
                "SCMP_CMP_EQ" => (Comparison::Equal, argument.value),
                "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, argument.value),
                "SCMP_CMP_GT" => (Comparison::Greater, argument.value),
                "SCMP_CMP_MASKED_EQ" => {
                    (Comparison::MaskedEqual(argument.value), argument.value_two)
                }
                other => return Err(ProfileError(format!("unrecognized operator {other:?}"))),
            };
            Ok(Test {
                argument: argument.index,
                comparison,
                value,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let repeats = tests.iter().enumerate().any(|(index, test)| {
        tests
            .iter()
            .take(index)
            .any(|other| other.argument == test.argument)
    });
    Ok(if repeats {
        tests.into_iter().map(|test| vec![test]).collect()
    } else {
        vec![tests]
    })
}

#[cfg(test)]
mod tests_of_profiles {
    use super::super::assemble::{ARCHITECTURE, run};
    use super::*;

    const HELD: Held = Held {
        capabilities: 1 << 13,
        kernel: (6, 1),
    };

    fn answer(text: &str, name: &str, arguments: [u64; 6]) -> u32 {
        let program = compile(text, HELD).unwrap();
        run(
            &program,
            ARCHITECTURE,
            names::number(name).unwrap(),
            arguments,
        )
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;

    #[test]
    fn lists_of_the_allowed() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW",
            "args": null}, {"name": "getpid", "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
        assert_eq!(answer(text, "read", [0; 6]), ALLOW);
        assert_eq!(answer(text, "openat", [0; 6]), EPERM);
        assert_eq!(answer(text, "getpid", [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
        let foreign = run(&compile(text, HELD).unwrap(), 1, 0, [0; 6]);
        assert_eq!(foreign, libc::SECCOMP_RET_ERRNO | 38);
    }

    #[test]
    fn lists_of_the_forbidden() {
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]},
            {"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS",
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                      {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 0, "value": 2080505856, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;
        assert_eq!(answer(text, "socket", [40, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(answer(text, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
        for value in [1, 8] {
            assert_eq!(
                answer(text, "personality", [value, 0, 0, 0, 0, 0]),
                libc::SECCOMP_RET_KILL_PROCESS
            );
        }
        assert_eq!(answer(text, "personality", [2, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(answer(text, "clone", [0x11, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(answer(text, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn conditions() {
        let entry = |conditions: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["mount"],
                "action": "SCMP_ACT_ALLOW", {conditions}}}]}}"#
            )
        };
        for (conditions, met) in [
            (r#""includes": {"caps": ["CAP_NET_RAW"]}"#, true),
            (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#, false),
            (
                r#""includes": {}, "excludes": {"caps": ["CAP_NET_RAW"]}"#,
                false,
            ),
            (r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#, true),
            (r#""includes": {"minKernel": "4.8"}"#, true),
            (r#""includes": {"minKernel": "6.2"}"#, false),
            (r#""includes": {"arches": ["s390", "s390x"]}"#, false),
        ] {
            let wanted = if met { ALLOW } else { EPERM };
            assert_eq!(
                answer(&entry(conditions), "mount", [0; 6]),
                wanted,
                "{conditions}"
            );
        }
    }

    #[test]
    fn nonsense() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"defaultAction": "SCMP_ACT_DANCE"}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 0, "op": "EQ"}]}]}"#,
        ] {
            assert!(compile(text, HELD).is_err(), "{text}");
        }
    }
}
