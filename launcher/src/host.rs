//! What planning needs to know about this machine, gathered once so that planning itself stays a
//! pure function: [`HostFacts`] is plain data, [`HostPaths`] answers questions about paths.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::thread::CapabilitySet;

use crate::config::capabilities::CapabilityFile;
use crate::config::{Config, RootCapabilities};
use crate::fakeroot::FakerootFacts;
use crate::kernel;
use crate::request::identity::IdentityWish;
use crate::security::{capabilities, labels};

/// The user, as the host's database knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserRecord {
    /// Login name; the number where the database has none.
    pub name: String,
    /// Full name and more.
    pub gecos: String,
    /// Home directory; empty where unknown.
    pub home: PathBuf,
    /// Login shell.
    pub shell: String,
}

/// A group that the host can name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRecord {
    /// Its number.
    pub gid: u32,
    /// Its name.
    pub name: String,
}

/// Facts about the calling process and its user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostFacts {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// The user's entry.
    pub user: UserRecord,
    /// Primary and supplementary groups with a name, without duplicates, primary first.
    pub groups: Vec<GroupRecord>,
    /// The caller's umask.
    pub umask: u32,
    /// Mounting needs no user namespace (CAP_SYS_ADMIN is held).
    pub privileged: bool,
    /// Root of a user namespace, and not of the machine.
    pub is_mapped_root: bool,
    /// The caller's terminal.
    pub terminal: Option<PathBuf>,
    /// What `capability.json` gives to root, where the configuration asks for it.
    pub root_file_capabilities: u64,
    /// What `--fakeroot` can use, where it is asked for.
    pub fakeroot: Option<FakerootFacts>,
    /// What `--security` can use, where it is asked for.
    pub modules: SecurityModules,
}

/// Security features of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SecurityModules {
    /// SELinux is on.
    pub selinux: bool,
    /// AppArmor is on.
    pub apparmor: bool,
    /// Version of the kernel: major, minor.
    pub kernel: (u32, u32),
}

impl UserRecord {
    /// What the host's database knows of user `uid`.
    pub fn of(uid: u32) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        kernel::passwd_record(uid).map_or_else(
            || Self {
                name: uid.to_string(),
                shell: "/bin/sh".to_owned(),
                ..Self::default()
            },
            |record| Self {
                name: text(record.name),
                gecos: text(record.gecos),
                home: PathBuf::from(OsStr::from_bytes(&record.home)),
                shell: text(record.shell),
            },
        )
    }
}

impl HostFacts {
    /// Looks at the calling process. Group names are looked up only where `config` generates a
    /// group file, because each look-up may ask a directory server.
    pub fn probe(config: &Config) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let user = UserRecord::of(uid);
        let mut gids = vec![gid];
        if config.config_group {
            // Without the list, only the primary group is named.
            for group in rustix::process::getgroups().unwrap_or_default() {
                if !gids.contains(&group.as_raw()) {
                    gids.push(group.as_raw());
                }
            }
        } else {
            gids.clear();
        }
        let groups = gids
            .into_iter()
            .filter_map(|gid| {
                let name = text(kernel::group_name(gid)?);
                Some(GroupRecord { gid, name })
            })
            .collect();
        let privileged = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        Self {
            uid,
            gid,
            user,
            groups,
            umask: current_umask(),
            privileged,
            is_mapped_root: uid == 0 && !has_all_ids(),
            terminal: terminal(),
            root_file_capabilities: 0,
            fakeroot: None,
            modules: SecurityModules::default(),
        }
    }

    /// Looks at what only some wishes make interesting.
    pub fn look_for(&mut self, wish: &IdentityWish, config: &Config) {
        if config.root_capabilities == RootCapabilities::File {
            // A file that cannot be read gives nothing.
            let file = CapabilityFile::load().unwrap_or_default();
            let names = file.users.get("root").cloned().unwrap_or_default();
            let names = names.iter().map(String::as_str);
            self.root_file_capabilities = capabilities::parse(names, |_| ());
        }
        if let Some(fakeroot) = wish.fakeroot {
            self.fakeroot = Some(FakerootFacts::probe(fakeroot, self));
        }
        if wish.selinux.is_some() || wish.apparmor.is_some() || wish.seccomp.is_some() {
            self.modules = SecurityModules {
                selinux: labels::selinux_enabled(),
                apparmor: labels::apparmor_enabled(),
                kernel: kernel_version(),
            };
        }
    }
}

/// Whether the caller's user namespace is the first one, in which all ids are.
fn has_all_ids() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Major and minor version of the running kernel.
fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The umask can only be read by setting it.
fn current_umask() -> u32 {
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

/// The terminal on one of the standard streams.
fn terminal() -> Option<PathBuf> {
    let name = |stream: rustix::fd::BorrowedFd<'_>| {
        rustix::termios::isatty(stream)
            .then(|| rustix::termios::ttyname(stream, Vec::new()).ok())
            .flatten()
    };
    let name = name(rustix::stdio::stdin())
        .or_else(|| name(rustix::stdio::stdout()))
        .or_else(|| name(rustix::stdio::stderr()))?;
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Questions about the host's paths; symbolic links are followed.
pub trait HostPaths {
    /// What `path` leads to.
    ///
    /// # Errors
    /// As `stat(2)`.
    fn kind(&self, path: &Path) -> io::Result<PathKind>;

    /// `path` without symbolic links.
    ///
    /// # Errors
    /// As `realpath(3)`.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// Mount points directly under `/`.
    ///
    /// # Errors
    /// Where the mount table cannot be read.
    fn root_mounts(&self) -> io::Result<Vec<PathBuf>>;

    /// Directory below which drivers are looked for: a test may have made one up.
    fn root(&self) -> &Path {
        Path::new("/")
    }
}

/// The machine itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealPaths;

impl HostPaths for RealPaths {
    fn kind(&self, path: &Path) -> io::Result<PathKind> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_dir() {
            return Ok(PathKind::File);
        }
        // Looking into the directory makes an automounter mount it now. In the namespaces of the
        // container it would be too late: what is mounted then may not reach them.
        // Whether one may look is the program's business.
        std::fs::metadata(path.join(".")).ok();
        Ok(PathKind::Directory)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn root_mounts(&self) -> io::Result<Vec<PathBuf>> {
        Ok(root_mounts(&std::fs::read("/proc/self/mountinfo")?))
    }
}

/// Mount points with one component in a mountinfo table.
fn root_mounts(table: &[u8]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .filter(|point| point.len() > 1 && point.iter().filter(|byte| **byte == b'/').count() == 1)
        .map(|point| PathBuf::from(OsStr::from_bytes(&unescape(point))))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Undoes the octal escapes of mount tables.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_under_the_root() {
        let table = b"1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /data rw - ext4 a rw\n\
            3 1 8:2 / /my\\040disk rw - ext4 a rw\n4 2 8:2 / /data/sub rw - ext4 a rw\n\
            5 1 8:2 / /data rw - ext4 a rw\n";
        assert_eq!(
            root_mounts(table),
            [PathBuf::from("/data"), PathBuf::from("/my disk")]
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(b"a\\040b\\134c\\04"), b"a b\\c\\04");
    }
}
