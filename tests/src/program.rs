//! The two programs that the same command lines are given to: skiff, and real Apptainer.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::command::Cmd;

/// A program under its names, in a folder of its own that everybody may search:
/// `apptainer`, `singularity`, `run-singularity`, and for skiff `skiff`.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is called in reports.
    pub title: &'static str,
    /// The folder, to be put in front of PATH.
    pub folder: PathBuf,
}

impl Program {
    /// The path of the program under one of its names.
    pub fn called(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Skiff: `SKIFF_BIN`, or what `cargo build --release` (else `cargo build`) left in the target
/// folder, copied to where the ordinary user can run it.
///
/// # Errors
/// Why there is none.
pub fn skiff() -> Result<&'static Program, String> {
    static SKIFF: OnceLock<Result<Program, String>> = OnceLock::new();
    SKIFF
        .get_or_init(|| copy_skiff(&find_skiff()?))
        .as_ref()
        .map_err(Clone::clone)
}

/// Apptainer as tests/peers/install leaves it in `SKIFF_PEERS` (default `/opt/skiff-peers`).
///
/// # Errors
/// Why it cannot be used.
pub fn real_apptainer() -> Result<&'static Program, String> {
    static REAL: OnceLock<Result<Program, String>> = OnceLock::new();
    REAL.get_or_init(|| {
        let peers = std::env::var_os("SKIFF_PEERS").unwrap_or_else(|| "/opt/skiff-peers".into());
        let program = Path::new(&peers).join("bin/apptainer");
        if !program.is_file() {
            return Err(format!(
                "{} is missing (tests/peers/install)",
                program.display()
            ));
        }
        let version = Cmd::new(&program).arg("--version").run().stdout_text();
        if version.trim() != "apptainer version 1.4.5" {
            return Err(format!("{} says {version:?}, not 1.4.5", program.display()));
        }
        let named = named(&program, "apptainer", &["apptainer", "singularity"])?;
        runner(&named.folder).map_err(|error| format!("{}: {error}", named.folder.display()))?;
        Ok(named)
    })
    .as_ref()
    .map_err(Clone::clone)
}

fn find_skiff() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("SKIFF_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.ancestors().find(|folder| folder.ends_with("target"));
    target
        .iter()
        .flat_map(|target| [target.join("release/skiff"), target.join("debug/skiff")])
        .find(|path| path.is_file())
        .ok_or_else(|| "skiff is not built: cargo build --release".to_owned())
}

fn copy_skiff(built: &Path) -> Result<Program, String> {
    let at = |error: std::io::Error| format!("{}: {error}", built.display());
    let bytes = std::fs::read(built).map_err(at)?;
    let digest = Sha256::digest(&bytes);
    let name = format!("skiff-{}", hex(&digest[..8]));
    let copy = shared_folder()?.join(name);
    if !copy.is_file() {
        // Several test processes may do this at once: each writes its own and renames.
        let fresh = copy.with_extension(std::process::id().to_string());
        std::fs::write(&fresh, &bytes).map_err(at)?;
        std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).map_err(at)?;
        std::fs::rename(&fresh, &copy).map_err(at)?;
    }
    named(
        &copy,
        "skiff",
        &["skiff", "apptainer", "singularity", "run-singularity"],
    )
}

/// What the launch line of an image calls: Apptainer installs a script, not a link.
fn runner(folder: &Path) -> std::io::Result<()> {
    let fresh = folder.join(std::process::id().to_string());
    std::fs::write(&fresh, "#!/bin/sh\nexec apptainer --quiet run \"$@\"\n")?;
    std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755))?;
    std::fs::rename(&fresh, folder.join("run-singularity"))
}

/// A folder of links with these names to `program`.
fn named(program: &Path, title: &'static str, names: &[&str]) -> Result<Program, String> {
    let digest = Sha256::digest(program.as_os_str().as_encoded_bytes());
    let folder = shared_folder()?.join(format!("as-{title}-{}", hex(&digest[..8])));
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        for name in names {
            match symlink(program, folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    };
    make().map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(Program { title, folder })
}

/// Where the tests keep what all of them and the ordinary user share, from run to run.
///
/// # Errors
/// When it cannot be made.
pub fn shared_folder() -> Result<PathBuf, String> {
    let folder = PathBuf::from(format!(
        "/var/tmp/skiff-tests-{}",
        rustix::process::geteuid().as_raw()
    ));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// The helper program of the tests, copied to where the ordinary user can run it.
///
/// # Panics
/// When that fails.
pub fn probe(built: &str) -> PathBuf {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE
        .get_or_init(|| {
            let bytes = std::fs::read(built).unwrap_or_else(|error| panic!("{built}: {error}"));
            let folder = shared_folder().unwrap_or_else(|error| panic!("{error}"));
            let copy = folder.join(format!("probe-{}", hex(&Sha256::digest(&bytes)[..8])));
            if !copy.is_file() {
                let fresh = copy.with_extension(std::process::id().to_string());
                std::fs::write(&fresh, &bytes).expect("the probe can be copied");
                std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755))
                    .expect("the copy is ours");
                std::fs::rename(&fresh, &copy).expect("the copy is ours");
            }
            copy
        })
        .clone()
}

/// Hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
