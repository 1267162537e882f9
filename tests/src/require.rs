//! Preconditions: what a test needs and a machine may lack. A test whose need is not met says so,
//! counts as skipped, and fails instead when `SKIFF_TEST_STRICT=1`, so that no check rots unseen.

use std::io::Write;
use std::path::Path;

use crate::{program, user, userland};

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Reports that `what` is not tested because of `reason`.
///
/// # Panics
/// When `SKIFF_TEST_STRICT=1`.
pub fn skip(what: &str, reason: &str) {
    let line = format!("SKIP: {what}: {reason}\n");
    eprint(&line);
    if let Some(path) = std::env::var_os("SKIFF_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        if let Ok(mut file) = file {
            // One write, so that lines of concurrent tests do not mix; the report is a courtesy.
            file.write_all(line.as_bytes()).ok();
        }
    }
    let strict = std::env::var_os("SKIFF_TEST_STRICT").is_some_and(|value| value == "1");
    assert!(!strict, "strict: {what} was skipped: {reason}");
}

fn eprint(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).ok();
}

/// A condition of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Running as root.
    Root,
    /// Kernel mounts of squashfs images through loop devices.
    Loop,
    /// `/dev/fuse`, usable by everyone.
    Fuse,
    /// User namespaces for ordinary users.
    UserNamespaces,
    /// `fusermount3`, set-user-id.
    Fusermount,
    /// `mksquashfs`.
    Mksquashfs,
    /// Real Apptainer 1.4.5 ([`program::real_apptainer`]).
    Apptainer,
    /// The skiff binary.
    Skiff,
    /// `fuse2fs`.
    Fuse2fs,
    /// `fuse-overlayfs`.
    FuseOverlayfs,
    /// A second ordinary user ([`user::second`]).
    SecondUser,
    /// Docker's registry.
    Registry,
    /// nginx.
    Nginx,
    /// Ids of /etc/subuid for the ordinary user, and newuidmap.
    Subuids,
    /// The fakeroot command.
    Fakeroot,
    /// apt-get and dpkg-deb.
    Apt,
    /// Docker's daemon.
    Docker,
    /// skopeo, which carries images from layouts to registries.
    Skopeo,
    /// umoci, which unpacks images.
    Umoci,
    /// mmdebstrap and a Debian mirror for it.
    Mmdebstrap,
    /// debootstrap and a Debian mirror for it.
    Debootstrap,
    /// busybox, statically linked.
    Busybox,
    /// gpg.
    Gpg,
    /// A kernel that gives unanswered requests to a new server (6.9).
    Resend,
}

impl Need {
    /// Why the condition does not hold, `None` when it does.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!is_root()).then(|| "not root".to_owned()),
            Self::Loop => {
                if !is_root() {
                    Some("not root, so no loop mounts".to_owned())
                } else if !Path::new("/dev/loop-control").exists() {
                    Some("no loop devices".to_owned())
                } else {
                    None
                }
            }
            Self::Fuse => {
                use std::os::unix::fs::PermissionsExt;
                match std::fs::metadata("/dev/fuse") {
                    Err(error) => Some(format!("/dev/fuse: {error}")),
                    Ok(meta) if meta.permissions().mode() & 0o006 != 0o006 => {
                        Some("/dev/fuse is not open to everyone".to_owned())
                    }
                    Ok(_) => None,
                }
            }
            Self::UserNamespaces => {
                let outcome = user::ordinary()
                    .command("unshare")
                    .args(["-Ur", "true"])
                    .run();
                (!outcome.success())
                    .then(|| format!("no user namespaces: {}", outcome.stderr_text().trim()))
            }
            Self::Fusermount => on_path("fusermount3"),
            Self::Mksquashfs => on_path("mksquashfs"),
            Self::SecondUser => user::second()
                .is_none()
                .then(|| "no second user (tests/run makes it)".to_owned()),
            Self::Fuse2fs => on_path("fuse2fs"),
            Self::FuseOverlayfs => on_path("fuse-overlayfs"),
            Self::Registry => on_path("docker-registry"),
            Self::Subuids => on_path("newuidmap").or_else(|| {
                let user = user::ordinary();
                let listed = |file| {
                    let text = std::fs::read_to_string(file).unwrap_or_default();
                    let start = format!("{}:", user.name);
                    text.lines().any(|line| line.starts_with(&start))
                };
                let all = listed("/etc/subuid") && listed("/etc/subgid");
                (!all).then(|| format!("{} is not in /etc/subuid and /etc/subgid", user.name))
            }),
            Self::Fakeroot => on_path("fakeroot"),
            Self::Apt => on_path("apt-get").or_else(|| on_path("dpkg-deb")),
            Self::Nginx => on_path("nginx"),
            Self::Docker => on_path("dockerd"),
            Self::Skopeo => on_path("skopeo"),
            Self::Umoci => on_path("umoci"),
            Self::Mmdebstrap => on_path("mmdebstrap"),
            Self::Debootstrap => on_path("debootstrap"),
            Self::Gpg => on_path("gpg"),
            Self::Busybox => {
                let busybox = Path::new("/bin/busybox");
                (!busybox.exists() || !userland::libraries_of(busybox).is_empty())
                    .then(|| "busybox is not installed, or not statically linked".to_owned())
            }
            Self::Apptainer => program::real_apptainer().err(),
            Self::Skiff => program::skiff().err(),
            Self::Resend => {
                let release = rustix::system::uname()
                    .release()
                    .to_string_lossy()
                    .into_owned();
                let mut numbers = release
                    .split(['.', '-'])
                    .map_while(|n| n.parse::<u32>().ok());
                let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                (version < (6, 9)).then(|| format!("kernel {release} is older than 6.9"))
            }
        }
    }
}

fn on_path(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    (!found).then(|| format!("{name} is not installed"))
}

/// Whether all of `needs` are met; reports the first that is not as a skip of `what`.
pub fn met(what: &str, needs: &[Need]) -> bool {
    for need in needs {
        if let Some(reason) = need.missing() {
            skip(what, &reason);
            return false;
        }
    }
    true
}

/// Returns from the test, reporting a skip, unless all the needs named are met:
/// `require!("kernel comparison"; Loop, Fuse)`.
#[macro_export]
macro_rules! require {
    ($what:expr; $($need:ident),+ $(,)?) => {
        if !$crate::require::met($what, &[$($crate::require::Need::$need),+]) {
            return;
        }
    };
}
