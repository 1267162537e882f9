//! Those that can mount a squashfs image, and a guard that takes the mount away again.

use crate::actor::Actor;
use crate::procs;
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How an image gets mounted.
#[derive(Clone, Debug)]
pub enum Mounter {
    /// `skiff mount`, with this binary.
    Skiff(PathBuf),
    /// `squashfuse_ll -f`, with this binary.
    SquashfuseLl(PathBuf),
    /// The kernel's driver over a loop device; needs root.
    Kernel,
}

impl Mounter {
    /// Short name for tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Skiff(_) => "skiff",
            Self::SquashfuseLl(_) => "squashfuse_ll",
            Self::Kernel => "kernel",
        }
    }

    /// Mounts `image` on `dir` and returns when it is there.
    ///
    /// # Errors
    /// When the mount does not appear within ten seconds.
    pub fn mount(&self, image: &Path, dir: &Path, actor: &Actor) -> Result<Mounted> {
        let mut command = match self {
            Self::Skiff(program) => {
                let mut command = actor.command(program);
                command.arg("mount").arg(image).arg(dir);
                command
            }
            Self::SquashfuseLl(program) => {
                let mut command = actor.command(program);
                command.arg("-f").arg(image).arg(dir);
                command
            }
            Self::Kernel => {
                let mut command = Command::new("mount");
                command
                    .args(["-t", "squashfs", "-o", "loop,ro"])
                    .arg(image)
                    .arg(dir);
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.name()))?;
        let mut mounted = Mounted {
            mounter: self.clone(),
            dir: dir.to_owned(),
            child,
            done: false,
        };
        mounted.wait_until_there()?;
        Ok(mounted)
    }
}

/// A mount that goes away with this value.
#[derive(Debug)]
pub struct Mounted {
    mounter: Mounter,
    dir: PathBuf,
    child: Child,
    done: bool,
}

impl Mounted {
    fn wait_until_there(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let name = self.mounter.name();
        while !is_mount_point(&self.dir)? {
            if let Some(status) = self.child.try_wait()?
                && !status.success()
            {
                bail!("{name} could not mount: {status}");
            }
            if Instant::now() > deadline {
                bail!("{name} did not mount within 10 s");
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }

    /// CPU time of the server processes so far; `None` for the kernel, which bills the reader.
    pub fn server_cpu(&self) -> Option<Duration> {
        match &self.mounter {
            Mounter::Skiff(program) => Some(
                procs::executing(program)
                    .into_iter()
                    .map(procs::cpu_time)
                    .sum(),
            ),
            Mounter::SquashfuseLl(_) => {
                Pid::from_raw(self.child.id().cast_signed()).map(procs::cpu_time)
            }
            Mounter::Kernel => None,
        }
    }

    /// Unmounts and waits for the server's end.
    ///
    /// # Errors
    /// When the directory is still busy.
    pub fn unmount(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        if self.done {
            return Ok(());
        }
        self.done = true;
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_mount_point(&self.dir)? {
            let mut command = match self.mounter {
                Mounter::Kernel => Command::new("umount"),
                Mounter::Skiff(_) | Mounter::SquashfuseLl(_) => {
                    let mut command = Command::new("fusermount3");
                    command.arg("-u");
                    command
                }
            };
            command
                .arg(&self.dir)
                .stderr(Stdio::null())
                .status()
                .context("starting umount")?;
            if Instant::now() > deadline {
                bail!("{} cannot be unmounted", self.dir.display());
            }
        }
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The server leaves by itself when its mount is gone.
        if let Mounter::Skiff(program) = &self.mounter
            && !procs::wait_until_gone(program, Duration::from_secs(5))
        {
            procs::end(program);
            bail!("skiff's server did not leave after the unmount");
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Only reached with something left to do when an error is already on its way out.
        let _already_failing = self.take_down();
    }
}

/// Whether something is mounted on `dir`; asked of the kernel's table, because root may not stat
/// another user's FUSE mount.
fn is_mount_point(dir: &Path) -> Result<bool> {
    let table = std::fs::read("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .any(|point| OsStr::from_bytes(point) == dir.as_os_str()))
}
