//! The interpreter against tables and against bash itself.

mod bash;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Policy, Shell, Stop};

/// How a script ended and what it exported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) env: BTreeMap<String, String>,
    /// `Err` is the status of `exit`.
    pub(super) end: Result<u8, u8>,
}

/// Runs `script` with `host` exported.
pub(super) fn run(script: &str, host: &[(&str, &str)]) -> Ran {
    let mut report = |_, _: &str| {};
    let policy = Policy {
        commands: true,
        files: true,
        timeout: Duration::from_secs(10),
    };
    let mut shell = Shell::new(b"test", policy, &mut report);
    for (name, value) in host {
        let variable = shell.variables.global(name.as_bytes());
        variable.value = Some(super::variables::Value::Text(value.as_bytes().to_vec()));
        variable.exported = true;
    }
    shell.set_own_variables();
    let end = match shell.source_text("test", script.as_bytes()) {
        Ok(()) => Ok(shell.status),
        Err(Stop::Exit(status)) => Err(status),
        Err(other) => panic!("{script}: {other:?}"),
    };
    let env = shell
        .variables
        .exported()
        .into_iter()
        .map(|(name, value)| (lossy(&name), lossy(&value)))
        .collect();
    Ran { env, end }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
