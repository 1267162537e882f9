//! Carrying out what agents that fetch packages do.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use skiff_fs::format::sif::Arch;
use skiff_fs::remote::Reference;
use skiff_launcher::kernel;
use skiff_launcher::mount::tree;
use skiff_launcher::programs;
use skiff_launcher::room::{Build, Room, StepError};

use super::stage::{inside, open_root};
use super::{Job, copy};
use crate::commands::build::PLATFORM_VARIABLES;
use crate::convert::{self, Options, Watch};
use crate::definition::agents::{Host, Masks, Recipe, Step, recipe};
use crate::definition::{Agent, Stage};
use crate::output;
use crate::text::os_error;

/// Devices that are bound where no device could be made.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The machine that the recipe is for.
struct ThisHost<'a> {
    job: &'a Job<'a>,
    arch: String,
}

impl Host for ThisHost<'_> {
    fn find(&self, program: &str) -> Option<PathBuf> {
        programs::find(program)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = self.job.context.variable(name)?;
        Some(value.to_string_lossy().into_owned())
    }

    fn arch(&self) -> &str {
        &self.arch
    }
}

/// Makes the first files of `root`, which is empty.
pub(super) fn follow(
    job: &Job<'_>,
    build: &Build,
    room: &Room<'_>,
    stage: &Stage,
    agent: Agent,
    root: &Path,
) -> Result<(), StepError> {
    let host = ThisHost {
        job,
        arch: Arch::host().to_string(),
    };
    let Recipe { steps, masks } = recipe(agent, stage, root, &host).map_err(StepError::Failed)?;
    for step in &steps {
        match step {
            Step::Info(text) => output::info(text),
            Step::Download {
                url,
                path,
                mode,
                failure,
            } => {
                let fetched = root.with_extension("download");
                let failed = |reason: String| format!("{failure}: {reason}");
                build.outside(|| {
                    download(job, url, &fetched)
                        .map(|()| Vec::new())
                        .map_err(|error| failed(format!("{error:#}")))
                })?;
                inside(room, || {
                    let root = open_root(root)?;
                    let mut from = File::open(&fetched).map_err(|error| os_error(&error))?;
                    copy::place(root.as_fd(), Path::new(path), *mode)
                        .and_then(|mut to| io::copy(&mut from, &mut to))
                        .map(drop)
                        .map_err(|error| failed(os_error(&error)))
                })?;
            }
            step => inside(room, || {
                let masks = job.mode.user_namespace.then_some(&masks);
                carry_out(step, root, masks)
            })?,
        }
    }
    inside(room, || remove_stand_ins(root, &steps))
}

/// Removes the files that devices were bound to: the image has what could be made.
fn remove_stand_ins(root: &Path, steps: &[Step]) -> Result<(), String> {
    let root = open_root(root)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for step in steps {
        let Step::Device { path, .. } = step else {
            continue;
        };
        // What packages have put in the place of the directory is theirs.
        if let Some((parent, name)) = path.rsplit_once('/')
            && let Ok(parent) = rustix::fs::openat(&root, parent, flags, Mode::empty())
            && let Ok(found) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            && FileType::from_raw_mode(found.st_mode).is_file()
            && found.st_size == 0
        {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())
                .map_err(|error| format!("{path}: {}", os_error(&error.into())))?;
        }
    }
    Ok(())
}

/// Fetches a file of the network, in a process that may have threads.
fn download(job: &Job<'_>, url: &str, to: &Path) -> anyhow::Result<()> {
    let reference =
        Reference::parse(url)?.ok_or_else(|| anyhow::anyhow!("{url} is no address of a file"))?;
    let args = job.args;
    let options = Options::new(
        &args.remote,
        &args.platform,
        PLATFORM_VARIABLES,
        job.context,
    )?;
    let mut from = convert::download(&reference, &options, &Watch::new())?;
    io::Seek::rewind(&mut from)?;
    io::copy(&mut from, &mut File::create(to)?)?;
    Ok(())
}

/// Does one step within the room.
fn carry_out(step: &Step, root: &Path, masks: Option<&Masks>) -> Result<(), String> {
    let fd = open_root(root)?;
    let fd = fd.as_fd();
    let io = |path: &str, done: io::Result<()>| {
        done.map_err(|error| format!("{path}: {}", os_error(&error)))
    };
    match step {
        Step::Directory { path, mode } => io(path, directory(fd, path, *mode)),
        Step::File {
            path,
            mode,
            content,
        } => super::metadata::place_file(fd, path, content.as_bytes(), *mode),
        Step::Link { path, target } => io(path, copy::link(fd, Path::new(path), target)),
        Step::Device { path, major, minor } => io(path, device(fd, path, *major, *minor)),
        Step::Remove { path } => io(path, remove(root, path)),
        Step::Mode { path, mode } => {
            let permissions = fs::Permissions::from_mode(*mode);
            io(path, fs::set_permissions(root.join(path), permissions))
        }
        Step::Run {
            program,
            arguments,
            quiet,
            failure,
            tolerated,
        } => {
            prepare(root, masks)?;
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null());
            if *quiet && !output::shows(output::Level::Verbose) {
                command.stdout(Stdio::null());
            }
            let status = command.status();
            let status = status.map_err(|error| format!("{failure}: {}", os_error(&error)))?;
            match (status.code(), tolerated) {
                (Some(0), _) => Ok(()),
                (Some(code), Some((fine, warning))) if code == *fine => {
                    output::warning(warning);
                    Ok(())
                }
                (Some(code), _) => Err(format!("{failure}: exit status {code}")),
                (None, _) => Err(format!("{failure}: {status}")),
            }
        }
        Step::Inspect {
            program,
            arguments,
            question,
        } => {
            let said = Command::new(program).args(arguments).output();
            let said =
                said.map_err(|error| format!("{}: {}", program.display(), os_error(&error)))?;
            for warning in question.judge(&String::from_utf8_lossy(&said.stdout))? {
                output::warning(warning);
            }
            Ok(())
        }
        Step::Info(_) | Step::Download { .. } => Ok(()),
    }
}

fn directory(root: BorrowedFd<'_>, path: &str, mode: u32) -> io::Result<()> {
    if path.starts_with('/') {
        return fs::create_dir_all(path);
    }
    copy::directory(root, Path::new(path), mode)
}

fn device(root: BorrowedFd<'_>, path: &str, major: u32, minor: u32) -> io::Result<()> {
    let number = makedev(major, minor);
    let mode = Mode::from_raw_mode(0o666);
    match rustix::fs::mknodat(root, path, FileType::CharacterDevice, mode, number) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(_) => copy::place(root, Path::new(path), 0o666).map(drop),
    }
}

fn remove(root: &Path, path: &str) -> io::Result<()> {
    let path = root.join(path);
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Hides what programs cannot do here, in a mount namespace of this process alone.
fn prepare(root: &Path, masks: Option<&Masks>) -> Result<(), String> {
    kernel::unshare(rustix::thread::UnshareFlags::NEWNS).map_err(|error| os_error(&error))?;
    if let Some(masks) = masks {
        let nothing = programs::find("true").ok_or("there is no program \"true\"")?;
        for program in &masks.programs {
            bind(
                &nothing,
                &fs::canonicalize(program).unwrap_or(program.clone()),
            )?;
        }
        let empty = root.with_extension("empty");
        File::create(&empty).map_err(|error| os_error(&error))?;
        for path in &masks.empty {
            bind(&empty, Path::new(path))?;
        }
        for path in &masks.devices {
            let place = root.join(path.trim_start_matches('/'));
            make_place(&place)
                .map_err(|error| format!("{}: {}", place.display(), os_error(&error)))?;
            bind(Path::new(path), &place)?;
        }
        if masks.proc {
            let place = root.join("proc");
            fs::create_dir_all(&place).map_err(|error| os_error(&error))?;
            bind(Path::new("/proc"), &place)?;
        }
    }
    for name in DEVICES {
        let place = root.join("dev").join(name);
        let device = Path::new("/dev").join(name);
        if fs::symlink_metadata(&place).is_ok_and(|it| it.is_file())
            && fs::metadata(&device).is_ok_and(|it| it.file_type().is_char_device())
        {
            bind(&device, &place)?;
        }
    }
    Ok(())
}

fn make_place(place: &Path) -> io::Result<()> {
    if place.exists() {
        return Ok(());
    }
    if let Some(parent) = place.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent)?;
        // Whatever the user's umask: what comes then leaves the directory as it is.
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    }
    File::create(place).map(drop)
}

fn bind(source: &Path, place: &Path) -> Result<(), String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    tree::clone_tree(rustix::fs::CWD, source)
        .and_then(|tree| {
            let place = rustix::fs::open(place, flags, Mode::empty())?;
            tree::attach(tree.as_fd(), place.as_fd())
        })
        .map_err(|error| {
            format!(
                "binding {} to {}: {}",
                source.display(),
                place.display(),
                os_error(&error.into())
            )
        })
}
