//! Where the cache of a user and that of a node are.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::directory::{Cache, CacheError};

/// The user's own directory, used as it is.
pub const DIRECTORY_VARIABLE: &str = "SKIFF_CACHE_DIR";

/// A directory that is filled for all users of the node.
const SHARED_VARIABLE: &str = "SKIFF_SHARED_CACHE";

/// Where that is if nothing is said.
const SHARED_DEFAULT: &str = "/var/cache/skiff";

/// Directories on disks of the node, in this order, in which a user may make one of his own.
const LOCAL: [&str; 4] = ["/local", "/scratch/local", "/var/tmp", "/tmp"];

/// Magic numbers of file systems that are no disk of the node. The program's own list is longer;
/// these are what `$TMPDIR` is known to point to.
const NO_LOCAL_DISK: [i64; 9] = [
    0x0102_1994, // tmpfs
    0x6969,      // nfs
    0x0BD0_0BD0, // lustre
    0x4750_4653, // gpfs
    0x1983_0326, // beegfs
    0x00C3_6400, // ceph
    0x6573_5546, // fuse
    0xFF53_4D42, // cifs
    0x0102_1997, // 9p
];

impl Cache {
    /// The calling user's cache directory: `$SKIFF_CACHE_DIR`; `$APPTAINER_CACHEDIR/skiff`; else
    /// `skiff-cache-<uid>` in `$TMPDIR` if that is on a local disk, `/local`, `/scratch/local`,
    /// `/var/tmp` or `/tmp`. Never the home directory unless a variable says so.
    ///
    /// # Errors
    /// When none can be used.
    pub fn default_dir() -> Result<PathBuf, CacheError> {
        choose(&|name| std::env::var_os(name))
    }

    /// The node's shared cache directory, if there is one: `$SKIFF_SHARED_CACHE` or
    /// `/var/cache/skiff`. [`Cache::open`] says whether it can be trusted.
    pub fn shared_dir() -> Option<PathBuf> {
        let dir = match std::env::var_os(SHARED_VARIABLE) {
            Some(dir) if dir.is_empty() => return None,
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(SHARED_DEFAULT),
        };
        dir.is_dir().then_some(dir)
    }
}

fn choose(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, CacheError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(dir) = set(DIRECTORY_VARIABLE) {
        return Ok(PathBuf::from(dir));
    }
    for name in ["APPTAINER_CACHEDIR", "SINGULARITY_CACHEDIR"] {
        if let Some(dir) = set(name) {
            return Ok(Path::new(&dir).join("skiff"));
        }
    }
    let name = format!("skiff-cache-{}", rustix::process::geteuid().as_raw());
    let temporary = set("TMPDIR")
        .map(PathBuf::from)
        .filter(|dir| is_local_disk(dir));
    let parents: Vec<PathBuf> = temporary
        .into_iter()
        .chain(LOCAL.iter().map(PathBuf::from))
        .collect();
    let found = parents
        .iter()
        .map(|parent| parent.join(&name))
        .find(|dir| is_usable(dir));
    found.ok_or_else(|| CacheError::NoPlace {
        tried: parents
            .iter()
            .map(|parent| parent.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn is_local_disk(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| !NO_LOCAL_DISK.contains(&(stat.f_type & 0xFFFF_FFFF)))
}

/// Whether `dir` is ours, or could be made and now is: between looking and making nobody else gets
/// in. One that somebody else put there under our name is passed
/// over: he would see what we read.
fn is_usable(dir: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let is_ours = |data: &Metadata| data.is_dir() && data.uid() == own && data.mode() & 0o022 == 0;
    // Whoever can rename what is in the parent can put a directory of his own in its place.
    let is_safe = |parent: &Path| {
        std::fs::metadata(parent).is_ok_and(|data| {
            let (mode, owner) = (data.mode(), data.uid());
            data.is_dir()
                && (owner == own || owner == 0)
                && (mode & 0o022 == 0 || mode & 0o1000 != 0)
        })
    };
    if !dir.parent().is_some_and(is_safe) {
        return false;
    }
    match std::fs::symlink_metadata(dir) {
        Ok(data) => is_ours(&data),
        Err(_) => {
            std::fs::DirBuilder::new().mode(0o700).create(dir).is_ok()
                || std::fs::symlink_metadata(dir).is_ok_and(|data| is_ours(&data))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let temporary = tempfile::tempdir().unwrap();
        let place = |set: &[(&str, &Path)]| {
            choose(&|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.as_os_str().to_owned())
            })
            .unwrap()
        };
        let home = Path::new("/home/x");
        let own = Path::new("/a/b");
        assert_eq!(place(&[("SKIFF_CACHE_DIR", own), ("TMPDIR", home)]), own);
        assert_eq!(
            place(&[("SINGULARITY_CACHEDIR", own)]),
            Path::new("/a/b/skiff")
        );
        let name = format!("skiff-cache-{}", rustix::process::geteuid().as_raw());
        if is_local_disk(temporary.path()) {
            let found = place(&[("TMPDIR", temporary.path())]);
            assert_eq!(found, temporary.path().join(&name));
            // Somebody was there first, with a link to a directory of his.
            std::fs::remove_dir(&found).unwrap();
            std::os::unix::fs::symlink("/tmp", temporary.path().join(&name)).unwrap();
            assert_ne!(place(&[("TMPDIR", temporary.path())]), found);
        }
        assert!(!place(&[]).starts_with("/home"));
    }
}
