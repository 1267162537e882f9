//! Those that start a program in an image.

use crate::actor::Actor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How a program gets started.
#[derive(Clone, Debug)]
pub enum Launcher {
    /// The program as it is, for scale.
    Bare,
    /// `skiff exec` with this binary, when no server of it runs.
    SkiffCold(PathBuf),
    /// `skiff exec` with this binary while its server runs.
    SkiffWarm(PathBuf),
    /// `apptainer exec`.
    Apptainer(PathBuf),
    /// bwrap with the binds of `exec` over an extracted directory.
    Bwrap(PathBuf),
}

/// What is started where.
#[derive(Clone, Debug)]
pub struct Target {
    /// SIF or squashfs image.
    pub image: PathBuf,
    /// The same tree as a directory.
    pub tree: PathBuf,
}

impl Launcher {
    /// Name for tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bare => "true itself",
            Self::SkiffCold(_) => "skiff, nothing mounted",
            Self::SkiffWarm(_) => "skiff, server running",
            Self::Apptainer(_) => "apptainer",
            Self::Bwrap(_) => "bwrap, same binds",
        }
    }

    /// The command that starts `/bin/true` of the image; skiff's server stays for `linger` after.
    pub fn command(&self, target: &Target, actor: &Actor, linger: Duration) -> Command {
        let mut command = match self {
            Self::Bare => actor.command("/bin/true"),
            Self::SkiffCold(program) | Self::SkiffWarm(program) | Self::Apptainer(program) => {
                let mut command = actor.command(program);
                command.arg("exec").arg(&target.image).arg("/bin/true");
                command.env("SKIFF_LINGER", linger.as_secs_f64().to_string());
                command
            }
            Self::Bwrap(program) => {
                let mut command = actor.command(program);
                bwrap_arguments(&mut command, &target.tree, &actor.home);
                command.arg("/bin/true");
                command
            }
        };
        command.stderr(Stdio::inherit());
        command
    }
}

/// What compat with Apptainer makes `exec` bind by default.
fn bwrap_arguments(command: &mut Command, tree: &Path, home: &Path) {
    command.arg("--ro-bind").arg(tree).arg("/");
    command.args([
        "--dev-bind",
        "/dev",
        "/dev",
        "--bind",
        "/proc",
        "/proc",
        "--bind",
        "/sys",
        "/sys",
    ]);
    for dir in [Path::new("/tmp"), Path::new("/var/tmp"), home] {
        command.arg("--bind").arg(dir).arg(dir);
    }
    for file in [
        "/etc/hosts",
        "/etc/localtime",
        "/etc/resolv.conf",
        "/etc/passwd",
        "/etc/group",
    ] {
        command.args(["--ro-bind-try", file, file]);
    }
    command.arg("--chdir").arg(home);
}
