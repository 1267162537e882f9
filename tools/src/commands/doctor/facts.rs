//! What the host says about itself; no judgement here.

use super::accounts;
use super::disk::{self, Candidate};
use super::trial::Trial;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// State of /dev/fuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FuseDevice {
    /// Not there, or something else by that name.
    Missing,
    /// There, but the user may not open it; its permission bits.
    Closed(u32),
    /// Usable.
    Open,
}

/// A program that needs privileges of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HelperProgram {
    /// Not on PATH.
    Missing,
    /// There, but neither setuid nor with file capabilities.
    Powerless(PathBuf),
    /// Fine.
    Ready(PathBuf),
}

/// The NVIDIA driver, where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NvidiaFacts {
    /// /dev/nvidiactl exists.
    pub device: bool,
    /// Version from /proc/driver/nvidia/version.
    pub driver: Option<String>,
    /// libcuda.so.1 is in the linker's cache.
    pub libcuda: bool,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Kernel release as uname(2) gives it.
    pub release: String,
    /// The user.
    pub user: String,
    /// Whether that is root.
    pub is_root: bool,
    /// /dev/fuse.
    pub fuse_device: FuseDevice,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, of Debian's kernels.
    pub unprivileged_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu's.
    pub apparmor_restricts: Option<u64>,
    /// What happened when it was tried.
    pub trial: Trial,
    /// `fuse.enable_uring`; `None` where the kernel does not know it.
    pub uring_enabled: Option<bool>,
    /// Largest range of /etc/subuid and /etc/subgid.
    pub subids: (u64, u64),
    /// newuidmap and newgidmap, the worse of both.
    pub idmap_programs: HelperProgram,
    /// fusermount3 (or fusermount).
    pub fusermount: HelperProgram,
    /// Places for the cache.
    pub cache: Vec<Candidate>,
    /// Private directory for sockets, when the session provides one.
    pub runtime_dir: Option<PathBuf>,
    /// NVIDIA.
    pub nvidia: NvidiaFacts,
}

impl Facts {
    /// Asks the host.
    pub fn probe() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = accounts::name_of(uid, &passwd)
            .or_else(|| std::env::var("USER").ok())
            .unwrap_or_else(|| uid.to_string());
        let range = |path| {
            accounts::largest_range(&fs::read_to_string(path).unwrap_or_default(), &user, uid)
        };
        let subids = (range("/etc/subuid"), range("/etc/subgid"));
        Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            is_root: rustix::process::geteuid().is_root(),
            fuse_device: fuse_device(),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            trial: Trial::run(),
            uring_enabled: fs::read_to_string("/sys/module/fuse/parameters/enable_uring")
                .ok()
                .map(|text| text.trim() == "Y"),
            subids,
            idmap_programs: worse(helper(&["newuidmap"]), helper(&["newgidmap"])),
            fusermount: helper(&["fusermount3", "fusermount"]),
            cache: disk::candidates(),
            runtime_dir: runtime_dir(uid),
            nvidia: nvidia(),
            user,
        }
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn fuse_device() -> FuseDevice {
    let path = Path::new("/dev/fuse");
    match path.metadata() {
        Ok(metadata) if metadata.file_type().is_char_device() => {
            if fs::File::options()
                .read(true)
                .write(true)
                .open(path)
                .is_ok()
            {
                FuseDevice::Open
            } else {
                FuseDevice::Closed(metadata.permissions().mode() & 0o7777)
            }
        }
        _ => FuseDevice::Missing,
    }
}

/// The first of `names` that launches would find.
fn helper(names: &[&str]) -> HelperProgram {
    let found = names
        .iter()
        .find_map(|name| skiff_launcher::programs::find(name));
    let Some(file) = found else {
        return HelperProgram::Missing;
    };
    let setuid = file
        .metadata()
        .is_ok_and(|metadata| metadata.mode() & 0o4000 != 0 && metadata.uid() == 0);
    let mut value = [0; 64];
    let capable = rustix::fs::getxattr(&file, "security.capability", &mut value).is_ok();
    if setuid || capable {
        HelperProgram::Ready(file)
    } else {
        HelperProgram::Powerless(file)
    }
}

fn worse(a: HelperProgram, b: HelperProgram) -> HelperProgram {
    let rank = |program: &HelperProgram| match program {
        HelperProgram::Missing => 0,
        HelperProgram::Powerless(_) => 1,
        HelperProgram::Ready(_) => 2,
    };
    if rank(&a) <= rank(&b) { a } else { b }
}

/// The session's own directory, if nobody else can enter it.
fn runtime_dir(uid: u32) -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| {
            dir.metadata().is_ok_and(|metadata| {
                metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o077 == 0
            })
        })
}

fn nvidia() -> NvidiaFacts {
    let version = fs::read_to_string("/proc/driver/nvidia/version").ok();
    let cache = fs::read("/etc/ld.so.cache").unwrap_or_default();
    NvidiaFacts {
        device: Path::new("/dev/nvidiactl").exists(),
        driver: version.and_then(|text| driver_version(&text)),
        libcuda: cache.windows(12).any(|window| window == b"libcuda.so.1"),
    }
}

/// The number in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  …`.
fn driver_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    line.split_whitespace()
        .find(|word| {
            word.contains('.')
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_versions() {
        let check = |line, expected| assert_eq!(driver_version(line).as_deref(), expected);
        check(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\n",
            Some("550.54.15"),
        );
        check(
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n",
            Some("570.86.15"),
        );
        check("something else\n", None);
    }
}
