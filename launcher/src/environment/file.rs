//! `--env-file`: scripts that may compute but neither run commands nor open files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{Notice, Variable};
use crate::error::reason;
use crate::request::{Action, LaunchRequest};
use crate::script::DEFAULT_COMMAND_TIMEOUT;
use crate::script::shell::parser::parse;
use crate::script::shell::variables::{Value, is_identifier};
use crate::script::shell::{Policy, Shell, Stop};

/// Variables of the shell itself, which a file cannot hand to the container.
const OWN: [&[u8]; 7] = [b"EUID", b"GID", b"HOME", b"IFS", b"OPTIND", b"PWD", b"UID"];

/// A file at most: longer ones are no lists of variables.
const MAX_LENGTH: u64 = 16 * 1024 * 1024;

/// An environment file that has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentFile {
    /// As the user named it.
    pub path: PathBuf,
    /// Its text.
    pub content: Vec<u8>,
}

/// A file of `--env-file` that cannot be used; `Display` is Apptainer's text after `FATAL:   `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("while setting environment: while processing {0}: could not read environment file {0:?}: open {0}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer in C's words.
        reason: String,
    },
    /// It is no script, runs commands or fails.
    #[error("while setting environment: while processing {0}: while processing {0}: while evaluating environment script: {reason}", path.display())]
    Evaluate {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
}

/// Reads the files of `--env-file`.
///
/// # Errors
/// The first file that cannot be read.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<EnvironmentFile>, FileError> {
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<EnvironmentFile, FileError> {
    let refuse = |reason: String| FileError::Read {
        path: path.to_path_buf(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(|error| refuse(reason(&error)))?;
    if metadata.len() > MAX_LENGTH {
        return Err(refuse("file too large".to_owned()));
    }
    let content = fs::read(path).map_err(|error| refuse(reason(&error)))?;
    Ok(EnvironmentFile {
        path: path.to_path_buf(),
        content,
    })
}

/// The variables that the files set; a later file wins. Each sees the caller's environment, none
/// the other files.
pub(super) fn evaluate(
    files: &[EnvironmentFile],
    request: &LaunchRequest,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Variable>, FileError> {
    let mut merged: Vec<Variable> = Vec::new();
    for file in files {
        for variable in evaluate_one(file, request, notices)? {
            match merged.iter_mut().find(|known| known.name == variable.name) {
                Some(known) => *known = variable,
                None => merged.push(variable),
            }
        }
    }
    Ok(merged)
}

fn evaluate_one(
    file: &EnvironmentFile,
    request: &LaunchRequest,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Variable>, FileError> {
    let refuse = |reason: String| FileError::Evaluate {
        path: file.path.clone(),
        reason,
    };
    let list = parse(&file.content)
        .map_err(|error| refuse(format!("while parsing script: apptainer:{error}")))?;
    let mut report = |severity, text: &str| notices.push(Notice::new(severity, text));
    let policy = Policy {
        commands: false,
        files: false,
        timeout: DEFAULT_COMMAND_TIMEOUT,
    };
    let mut shell = Shell::new(b"apptainer", policy, &mut report);
    for (name, value) in &request.environment.host {
        if is_identifier(name.as_bytes()) {
            shell.variables.global(name.as_bytes()).value =
                Some(Value::Text(value.as_bytes().to_vec()));
        }
    }
    let image = request.image.path.as_os_str().as_bytes().to_vec();
    shell.variables.global(b"APPTAINER_IMAGE").value = Some(Value::Text(image));
    shell.set_own_variables();
    shell.options.all_export = true;
    shell.positional = arguments(request);
    match shell.run(&list) {
        Ok(()) | Err(Stop::Return(_) | Stop::Break(_) | Stop::Continue(_)) => {}
        Err(Stop::Exit(0) | Stop::Exec(_)) => return Ok(Vec::new()),
        Err(Stop::Exit(status)) => return Err(refuse(format!("exit status {status}"))),
        Err(Stop::Fatal(error)) => return Err(refuse(error.to_string())),
    }
    let variables = shell.variables.exported();
    Ok(variables
        .into_iter()
        .filter(|(name, _)| !OWN.contains(&name.as_slice()))
        .map(|(name, value)| Variable {
            name: OsStr::from_bytes(&name).to_os_string(),
            value: std::ffi::OsString::from_vec(value),
        })
        .collect())
}

/// `$@` of the file: the action's script and its arguments.
fn arguments(request: &LaunchRequest) -> Vec<Vec<u8>> {
    let words = match &request.action {
        Action::Exec(words) | Action::Run(words) | Action::Test(words) | Action::Start(words) => {
            words.as_slice()
        }
        Action::Shell => &[],
    };
    let script = format!("/.singularity.d/actions/{}", request.action.name());
    std::iter::once(script.into_bytes())
        .chain(words.iter().map(|word| word.as_bytes().to_vec()))
        .collect()
}
