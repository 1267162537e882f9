//! The runscript that is generated for OCI images: run here, so that such an image needs no shell.

use std::path::Path;

use super::ScriptError;
use super::lookup::inside;
use super::shell::variables::{Value, is_identifier};
use super::shell::{Policy, Shell, Stop};
use crate::error::reason;
use crate::report::Report;

/// The runscript of an image.
pub(super) const RUNSCRIPT: &str = "/.singularity.d/runscript";

/// The line by which a generated runscript is known.
const MARK: &[u8] = b"eval \"set ${SINGULARITY_OCI_RUN}\"";

/// How a generated runscript ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Become this program (absolute path and arguments) in this environment.
    Exec(Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>),
    /// It never came to `exec`: let the image's own shell run it.
    Undecided,
    Exit(u8),
}

/// The generated runscript's text; `None` where the runscript is the image author's own.
pub(super) fn generated(root: &Path) -> Result<Option<Vec<u8>>, ScriptError> {
    let path = inside(root, Path::new(RUNSCRIPT));
    let script = std::fs::read(path).map_err(|error| ScriptError::ReadScript {
        path: RUNSCRIPT.into(),
        reason: reason(&error),
    })?;
    let known = script
        .split(|byte| *byte == b'\n')
        .any(|line| line.strip_suffix(b"\r").unwrap_or(line) == MARK);
    Ok(known.then_some(script))
}

/// Runs `script` with `arguments` in an environment of its own.
pub(super) fn run(
    script: &[u8],
    arguments: &[Vec<u8>],
    env: &[(Vec<u8>, Vec<u8>)],
    policy: Policy,
    report: &mut Report<'_>,
) -> Result<Ending, ScriptError> {
    let mut shell = Shell::new(RUNSCRIPT.as_bytes(), policy, report);
    for (name, value) in env.iter().filter(|(name, _)| is_identifier(name)) {
        let variable = shell.variables.global(name);
        variable.value = Some(Value::Text(value.clone()));
        // Apptainer's second interpreter knows its directory but does not export it.
        variable.exported = name != b"PWD";
    }
    shell.set_own_variables();
    shell.positional = arguments.to_vec();
    match shell.source_text(RUNSCRIPT, script) {
        Ok(()) | Err(Stop::Break(_) | Stop::Continue(_) | Stop::Return(_)) => Ok(Ending::Undecided),
        Err(Stop::Exec(words)) => {
            let mut exported: Vec<(Vec<u8>, Vec<u8>)> =
                shell.variables.exported().into_iter().collect();
            exported.extend(env.iter().filter(|(name, _)| !is_identifier(name)).cloned());
            Ok(Ending::Exec(words, exported))
        }
        Err(Stop::Exit(status)) => Ok(Ending::Exit(status)),
        Err(Stop::Fatal(error)) => Err(error),
    }
}
