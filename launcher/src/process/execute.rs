//! `execve`, and what its failures mean.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, Stat};
use rustix::io::Errno;

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
    if let Some(danger) = danger(&program.path) {
        return failed(danger.to_owned());
    }
    let error = kernel::execute(&path, &arguments, &environment);
    match error.raw_os_error() {
        // A script without interpreter line.
        Some(libc::ENOEXEC) => {
            let shell = c"/bin/sh";
            if let Some(danger) = danger(Path::new("/bin/sh")) {
                return failed(format!("of its shell, /bin/sh: {danger}"));
            }
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
            failed(match interpreter(&start_of(Path::new(&program.path))) {
                Some(name) => format!("its interpreter, {}, is not in the image", name.display()),
                None => "a shared library is likely missing in the image".to_owned(),
            })
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

/// This program's file.
const OWN_FILE: &str = "/proc/self/exe";

/// Scripts that name a script as their interpreter, as deep as the kernel goes.
const MAX_SCRIPTS: usize = 5;

/// What is wrong with `path`, or the interpreter that it names, when it is this program's own file by
/// way of /proc. An image that has it executed once more in the container, with the image's
/// libraries, could open the file on the host for writing (CVE-2019-5736).
fn danger(path: &Path) -> Option<&'static str> {
    let own = rustix::fs::stat(OWN_FILE).ok()?;
    let mut path = path.to_owned();
    for _ in 0..=MAX_SCRIPTS {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let status = rustix::fs::stat(&path);
        if status.is_ok_and(|it| (it.st_dev, it.st_ino) == (own.st_dev, own.st_ino)) {
            return Some("it is the container runtime itself");
        }
        let mut start = [0; 256];
        let read = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => rustix::io::read(file, &mut start).unwrap_or(0),
            // The kernel reads what we may not.
            Err(Errno::ACCESS) if is_executable(&path) && may_change(&own) => {
                return Some(
                    "it cannot be read, so that nobody knows whether it leads to the container \
                     runtime itself, which belongs to this user",
                );
            }
            Err(_) => return None,
        };
        path = interpreter(start.get(..read).unwrap_or_default())?;
    }
    None
}

/// As much of a file as the kernel looks at; nothing where it cannot be read.
fn start_of(path: &Path) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut start = vec![0; 256];
    let read = rustix::fs::open(path, flags, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut start));
    start.truncate(read.unwrap_or(0));
    start
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Whether this user could write to the program's own file, or let himself do so.
fn may_change(own: &Stat) -> bool {
    own.st_uid == rustix::process::geteuid().as_raw()
        || rustix::fs::access(OWN_FILE, Access::WRITE_OK).is_ok()
}

/// The program that the first line of a script names, as the kernel reads it: a zero byte ends the
/// name, too.
fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?;
    let first = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let name = line
        .get(first..)?
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0))
        .next()
        .filter(|name| !name.is_empty())?;
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
        assert_eq!(of("#!/bin/sh\0 -e\n"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(of("#!\n/bin/sh"), None);
        assert_eq!(of("#! \0/bin/sh"), None);
        assert_eq!(of("#! \t"), None);
        assert_eq!(of("\x7fELF"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn ourselves() {
        assert!(danger(Path::new("/proc/self/exe")).is_some());
        assert_eq!(danger(Path::new("/bin/sh")), None);
        assert_eq!(danger(Path::new("/no/such/file")), None);
    }
}
