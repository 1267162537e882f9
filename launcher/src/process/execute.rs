//! `execve`, and what its failures mean.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

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
    if leads_to_ourselves(&program.path) {
        return failed("it is the container runtime itself".to_owned());
    }
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

/// Scripts that name a script as their interpreter, as deep as the kernel goes.
const MAX_SCRIPTS: usize = 5;

/// Whether `path`, or the interpreter that it names, is this program's own file by way of /proc. An
/// image that has it executed once more in the container, with the image's libraries, could open the
/// file on the host for writing (CVE-2019-5736).
fn leads_to_ourselves(path: &Path) -> bool {
    let Ok(own) = rustix::fs::stat("/proc/self/exe") else {
        return false;
    };
    let mut path = path.to_owned();
    for _ in 0..=MAX_SCRIPTS {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let status = rustix::fs::stat(&path);
        if status.is_ok_and(|it| (it.st_dev, it.st_ino) == (own.st_dev, own.st_ino)) {
            return true;
        }
        let mut start = [0; 256];
        let read = rustix::fs::open(&path, flags, Mode::empty())
            .and_then(|file| rustix::io::read(file, &mut start))
            .unwrap_or(0);
        match interpreter(start.get(..read).unwrap_or_default()) {
            Some(next) => path = next,
            None => return false,
        }
    }
    false
}

/// The program that the first line of a script names.
fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?;
    let name = line
        .split(|byte| *byte == b'\n')
        .next()?
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        let of = |text: &str| interpreter(text.as_bytes());
        assert_eq!(of("#!/bin/sh -e\n"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(
            of("#! \t/proc/self/exe"),
            Some(PathBuf::from("/proc/self/exe"))
        );
        assert_eq!(of("#!\n/bin/sh"), None);
        assert_eq!(of("\x7fELF"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn ourselves() {
        assert!(leads_to_ourselves(Path::new("/proc/self/exe")));
        assert!(!leads_to_ourselves(Path::new("/bin/sh")));
        assert!(!leads_to_ourselves(Path::new("/no/such/file")));
    }
}
