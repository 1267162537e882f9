//! `execve`, and what its failures mean.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Program;
use crate::error::{LaunchError, reason};
use crate::kernel;

/// Becomes `program`; returns why not.
pub(super) fn execute(program: &Program) -> LaunchError {
    let failed = |reason: String| LaunchError::Exec {
        path: program.path.clone(),
        reason,
    };
    let Ok((path, mut arguments, environment)) = c_strings(program) else {
        return failed("an argument or a variable has a zero byte in it".to_owned());
    };
    let error = kernel::execute(&path, &arguments, &environment);
    match error.raw_os_error() {
        // A script without interpreter line.
        Some(libc::ENOEXEC) => {
            let shell = c"/bin/sh";
            if arguments.is_empty() {
                arguments.push(path.clone());
            }
            if let Some(name) = arguments.first_mut() {
                *name = path.clone();
            }
            arguments.insert(0, shell.to_owned());
            let error = kernel::execute(shell, &arguments, &environment);
            failed(reason(&error))
        }
        // The file was found, so what is missing is its interpreter or the dynamic loader.
        Some(libc::ENOENT) if Path::new(&program.path).exists() => {
            failed("a shared library is likely missing in the image".to_owned())
        }
        _ => failed(reason(&error)),
    }
}

type Strings = (CString, Vec<CString>, Vec<CString>);

fn c_strings(program: &Program) -> Result<Strings, std::ffi::NulError> {
    let path = CString::new(program.path.as_os_str().as_bytes())?;
    let arguments = program
        .arguments
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<_, _>>()?;
    let environment = program
        .environment
        .iter()
        .map(|(name, value)| {
            CString::new([name, OsStr::new("="), value].map(OsStr::as_bytes).concat())
        })
        .collect::<Result<_, _>>()?;
    Ok((path, arguments, environment))
}
