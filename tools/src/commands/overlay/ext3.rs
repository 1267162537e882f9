//! Makes ext3 file systems with mkfs.ext3, in a private directory that is gone again afterwards.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rustix::fs::{CWD, FallocateFlags, RenameFlags, SeekFrom};

use skiff_launcher::programs;

use super::private;
use super::scratch::{Ends, Scratch};
use crate::text::os_error;

/// Bytes copied at a time.
const STEP: usize = 1 << 20;

/// What is to be made.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Bytes.
    pub(super) size: u64,
    /// Without taking the room on disk yet.
    pub(super) sparse: bool,
    /// Everything in it belongs to root.
    pub(super) fakeroot: bool,
    /// Directories in its `upper`.
    pub(super) directories: Vec<PathBuf>,
}

/// A file system that was made; its file is removed when this goes.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    file: File,
    _scratch: Scratch,
}

impl Made {
    /// Gives it a name where nothing is.
    pub(super) fn keep_as(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, &self.path, CWD, path, flags) {
            Ok(()) => Ok(()),
            // File systems without it: the name was free a moment ago.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(&self.path, path)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Copies it to byte `offset` of `to`, whose end is there or before; holes stay holes.
    pub(super) fn copy_to(&self, to: &File, offset: u64) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let end = offset
            .checked_add(size)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        // What lay behind the last object is not to shine through the holes.
        to.set_len(offset)?;
        to.set_len(end)?;
        let mut at = 0;
        let mut buffer = vec![0; STEP];
        while at < size {
            at = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(at) => at,
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(at))?;
            while at < hole {
                let count = usize::try_from(hole - at).unwrap_or(STEP).min(STEP);
                let part = buffer.get_mut(..count).ok_or(io::ErrorKind::Other)?;
                self.file.read_exact_at(part, at)?;
                to.write_all_at(part, offset + at)?;
                at += count as u64;
            }
        }
        Ok(())
    }
}

/// Makes one in the directory `place`; `ends` sees to it that nothing is left whatever happens.
///
/// # Errors
/// One line about what is in the way.
pub(super) fn make(wish: &Wish, place: &Path, ends: &Ends) -> anyhow::Result<Made> {
    let mkfs = find("mkfs.ext3")?;
    let layout = Layout::new(&wish.directories, ends)?;
    let creating = |error: io::Error| {
        anyhow::anyhow!(
            "while creating overlay image in {}: {}",
            place.display(),
            os_error(&error)
        )
    };
    let scratch = ends.scratch(place).map_err(creating)?;
    let path = scratch.path().join("image");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(creating)?;
    let made = Made {
        path,
        file,
        _scratch: scratch,
    };
    // Whatever the umask.
    made.file.set_permissions(private())?;
    let no_room = |error: io::Error| {
        anyhow::anyhow!(
            "while making room for the overlay image in {}: {}",
            place.display(),
            os_error(&error)
        )
    };
    made.file.set_len(wish.size).map_err(no_room)?;
    if !wish.sparse {
        take_room(&made.file, wish.size).map_err(no_room)?;
    }
    run(
        Command::new(&mkfs)
            .args(["-q", "-F", "-d"])
            .arg(&layout.path)
            .arg(&made.path),
        "mkfs.ext3",
        ends,
    )?;
    if wish.fakeroot {
        let mut command = Command::new(find("debugfs")?);
        command.arg("-w");
        give_to_root(command, &made.path, &wish.directories, ends)?;
    }
    Ok(made)
}

/// Takes the blocks of the file.
fn take_room(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0; STEP];
            let mut at = 0;
            while at < size {
                let count = usize::try_from(size - at).unwrap_or(STEP).min(STEP);
                file.write_all_at(zeros.get(..count).unwrap_or_default(), at)?;
                at += count as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The directories that the file system starts with, on the host.
struct Layout {
    path: PathBuf,
    _scratch: Scratch,
}

impl Layout {
    fn new(directories: &[PathBuf], ends: &Ends) -> anyhow::Result<Self> {
        let place = std::env::temp_dir();
        let failed = |error: io::Error| {
            anyhow::anyhow!(
                "while creating the layout of the overlay in {}: {}",
                place.display(),
                os_error(&error)
            )
        };
        let scratch = ends.scratch(&place).map_err(failed)?;
        let path = scratch.path().join("layout");
        let mut builder = DirBuilder::new();
        builder.mode(0o755);
        builder.create(&path).map_err(failed)?;
        let layout = Self {
            path,
            _scratch: scratch,
        };
        let upper = layout.path.join("upper");
        for name in ["upper", "work"] {
            let directory = layout.path.join(name);
            builder.create(&directory).map_err(failed)?;
            std::fs::set_permissions(
                &directory,
                std::os::unix::fs::PermissionsExt::from_mode(0o755),
            )
            .map_err(failed)?;
        }
        for directory in directories {
            let Some(inside) = inside(directory) else {
                anyhow::bail!(
                    "overlay directory created outside of overlay layout {}",
                    upper.display()
                );
            };
            builder
                .clone_recursive()
                .create(upper.join(inside))
                .map_err(failed)?;
        }
        Ok(layout)
    }
}

/// A builder that makes the directories on the way as well.
trait Recursive {
    fn clone_recursive(&self) -> DirBuilder;
}

impl Recursive for DirBuilder {
    fn clone_recursive(&self) -> DirBuilder {
        let mut builder = DirBuilder::new();
        builder.mode(0o755).recursive(true);
        builder
    }
}

/// `directory` relative to the root; `None` when `..` leads out of it.
fn inside(directory: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in directory.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir if !inside.pop() => return None,
            _ => {}
        }
    }
    Some(inside)
}

/// Makes everything in the file system root's, whoever made it.
fn give_to_root(
    mut debugfs: Command,
    image: &Path,
    directories: &[PathBuf],
    ends: &Ends,
) -> anyhow::Result<()> {
    let mut names = vec![PathBuf::from("upper"), PathBuf::from("work")];
    for directory in directories.iter().filter_map(|directory| inside(directory)) {
        let full = Path::new("upper").join(directory);
        names.extend(full.ancestors().map(Path::to_owned));
    }
    let mut script = String::new();
    for name in names {
        let name = name.display().to_string();
        if name.is_empty() || name.contains(['"', '\n']) {
            continue;
        }
        for field in ["uid", "gid"] {
            script.push_str(&format!("set_inode_field \"/{name}\" {field} 0\n"));
        }
    }
    // Beside the image, where nobody else can put anything.
    let commands = image.with_extension("commands");
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&commands)
        .and_then(|mut file| file.write_all(script.as_bytes()))
        .context("while writing commands for debugfs")?;
    run(debugfs.arg("-f").arg(&commands).arg(image), "debugfs", ends)
}

fn find(name: &str) -> anyhow::Result<PathBuf> {
    programs::find(name).with_context(|| {
        format!("{name} was not found, which makes ext3 file systems: install e2fsprogs")
    })
}

/// Runs a program of e2fsprogs with nothing of the caller's environment.
fn run(command: &mut Command, name: &str, ends: &Ends) -> anyhow::Result<()> {
    let failed = |error: io::Error| anyhow::anyhow!("while running {name}: {}", os_error(&error));
    let child = command
        .env_clear()
        .env("PATH", programs::PLACES.join(":"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let _watched = ends.child(&child);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::bail!(
        "while creating ext3 partition: {name}: {}\nCommand error: {}",
        output.status,
        said.trim()
    )
}
