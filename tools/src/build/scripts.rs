//! Sections that are run: on the host as they are, in the container by a launch within the build.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::copy;
use super::listen::{Failure, run};
use super::mode::Mode;
use super::stage::open_root;
use crate::cli::build::DefinitionArgs;
use crate::program::Personality;
use crate::text::os_error;

/// File of the container that `%post` appends environment to.
pub(super) const ENVIRONMENT: &str = "/.singularity.d/env/91-environment.sh";

/// File of the container that `%post` appends labels to.
pub(super) const LABELS: &str = "/.build.labels";

/// File of the container that holds `%post`.
pub(super) const POST: &str = "/.post.script";

/// A launch within the build.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    /// Whose manners.
    pub(super) personality: Personality,
    /// The build's flags.
    pub(super) args: &'a DefinitionArgs,
    /// The configuration file, if one was named.
    pub(super) config: Option<&'a Path>,
    /// How the build is root.
    pub(super) mode: &'a Mode,
    /// The container's root.
    pub(super) root: &'a Path,
    /// Copies of the host's files that the network needs, and where they appear.
    pub(super) binds: &'a [(std::path::PathBuf, &'static str)],
}

/// Runs `command` on the host with `variables` on top of the caller's.
///
/// # Errors
/// What became of it, in Go's words.
pub(super) fn on_host(command: &[String], variables: &[(&str, &OsStr)]) -> Result<(), Failure> {
    let [program, arguments @ ..] = command else {
        return Err("there is no command".to_owned().into());
    };
    let mut shell = Command::new(program);
    shell.args(arguments).envs(variables.iter().copied());
    run(shell)
}

/// Writes `text` to `path`, to be run.
///
/// # Errors
/// The file system's refusal.
pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("writing {}: {}", path.display(), os_error(&error));
    fs::write(path, text).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)
}

impl Inside<'_> {
    /// Runs `command` as `%post` is run: as root of a root that is written to, with little of the
    /// caller's environment.
    ///
    /// # Errors
    /// What became of it.
    pub(super) fn post(&self, command: &[String]) -> Result<(), Failure> {
        let mut skiff = self.skiff();
        skiff.args(["exec", "--writable", "--cleanenv"]);
        self.common(&mut skiff);
        for prefix in ["APPTAINER", "SINGULARITY"] {
            skiff.arg("--env");
            skiff.arg(format!("{prefix}_ENVIRONMENT={ENVIRONMENT}"));
            skiff.arg("--env");
            skiff.arg(format!("{prefix}_LABELS={LABELS}"));
        }
        skiff.arg(self.root).args(command);
        run(skiff)
    }

    /// Runs the image's test script.
    ///
    /// # Errors
    /// What became of it.
    pub(super) fn test(&self) -> Result<(), Failure> {
        let mut skiff = self.skiff();
        skiff.arg("test");
        if self.args.writable_tmpfs {
            skiff.arg("--writable-tmpfs");
        }
        self.common(&mut skiff);
        for prefix in ["APPTAINER", "SINGULARITY"] {
            skiff.arg("--env");
            skiff.arg(format!("{prefix}_ENVIRONMENT={ENVIRONMENT}"));
        }
        skiff.arg(self.root);
        run(skiff)
    }

    /// Ourselves, without what the environment says about flags: the build has heeded that.
    fn skiff(&self) -> Command {
        let mut skiff = Command::new("/proc/self/exe");
        skiff.arg0(self.personality.name());
        for (name, _) in std::env::vars_os() {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b"APPTAINER_") || bytes.starts_with(b"SINGULARITY_") {
                skiff.env_remove(name);
            }
        }
        skiff.arg("--silent");
        if let Some(config) = self.config {
            skiff.arg("--config").arg(config);
        }
        skiff.arg("--build-config");
        skiff
    }

    /// Whether the fakeroot command cannot run in the container, which has another C library than
    /// the host, or none: a filter pretends instead.
    fn lacks_loader(&self) -> bool {
        let Some(loader) = &self.mode.loader else {
            return false;
        };
        open_root(self.root)
            .is_ok_and(|root| !copy::leads_somewhere(root.as_fd(), Path::new(loader)))
    }

    fn common(&self, skiff: &mut Command) {
        skiff.args(["--no-mount", "cwd", "--pwd", "/"]);
        for (flag, given) in [
            ("--nv", self.args.nv),
            ("--nvccli", self.args.nvccli),
            ("--rocm", self.args.rocm),
        ] {
            if given {
                skiff.arg(flag);
            }
        }
        if self.mode.alone {
            skiff.arg("--fakeroot");
            for (flag, given) in [
                ("--ignore-subuid", self.mode.wish.ignore_subuid),
                ("--ignore-userns", self.mode.wish.ignore_userns),
                (
                    "--ignore-fakeroot-command",
                    self.mode.wish.ignore_command || self.lacks_loader(),
                ),
            ] {
                if given {
                    skiff.arg(flag);
                }
            }
        }
        for (source, destination) in self.binds {
            // A field of CSV.
            let source = source.to_string_lossy().replace('"', "\"\"");
            skiff.arg("--mount");
            skiff.arg(format!(
                "type=bind,\"source={source}\",destination={destination}"
            ));
        }
        for bind in &self.args.bind {
            skiff.arg("--bind").arg(bind);
        }
        for mount in &self.args.mount {
            skiff.arg("--mount").arg(mount);
        }
    }
}
