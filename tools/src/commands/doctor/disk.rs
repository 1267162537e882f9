//! Which directory the chunk cache would use: the first writable one on a disk of this node.

use rustix::fs::{Access, statfs, statvfs};
use std::path::PathBuf;

/// A candidate and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Directory.
    pub dir: PathBuf,
    /// Kind of file system, as far as known.
    pub kind: FsKind,
    /// Whether the user may write there.
    pub writable: bool,
    /// Free bytes for the user.
    pub free_bytes: u64,
}

/// Kinds of file system that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsKind {
    /// On this node, with this name.
    Local(&'static str),
    /// Shared over a network or served by a process: a cache there gains nothing.
    Remote(&'static str),
    /// Memory: what lies there is taken from programs.
    Memory(&'static str),
    /// Anything else; taken for local.
    Other,
}

/// `f_type` of statfs(2): linux/magic.h, and the vendors' sources for parallel file systems.
fn kind_of(magic: u64) -> FsKind {
    match magic {
        0xef53 => FsKind::Local("ext4"),
        0x5846_5342 => FsKind::Local("xfs"),
        0x9123_683e => FsKind::Local("btrfs"),
        0x2fc1_2fc1 => FsKind::Local("zfs"),
        0xf2f5_2010 => FsKind::Local("f2fs"),
        0xca45_1a4e => FsKind::Local("bcachefs"),
        0x794c_7630 => FsKind::Local("overlay"),
        0x0102_1994 => FsKind::Memory("tmpfs"),
        0x8584_58f6 => FsKind::Memory("ramfs"),
        0x6969 => FsKind::Remote("nfs"),
        0xff53_4d42 => FsKind::Remote("cifs"),
        0xfe53_4d42 => FsKind::Remote("smb"),
        0x0bd0_0bd0 => FsKind::Remote("lustre"),
        0x4750_4653 => FsKind::Remote("gpfs"),
        0x1983_0326 => FsKind::Remote("beegfs"),
        0x00c3_6400 => FsKind::Remote("ceph"),
        0x5346_414f => FsKind::Remote("afs"),
        0xaad7_aaea => FsKind::Remote("panfs"),
        0x6573_5546 => FsKind::Remote("fuse"),
        _ => FsKind::Other,
    }
}

/// The places where the cache is looked for, in order, as far as they exist.
pub(super) fn candidates() -> Vec<Candidate> {
    let variables = ["SKIFF_CACHE_DIR", "TMPDIR"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from);
    let fixed = ["/local", "/scratch/local", "/var/tmp", "/tmp"]
        .into_iter()
        .map(PathBuf::from);
    variables.chain(fixed).filter_map(examine).collect()
}

fn examine(dir: PathBuf) -> Option<Candidate> {
    if !dir.is_absolute() || !dir.is_dir() {
        return None;
    }
    let magic = statfs(&dir).ok()?.f_type;
    let space = statvfs(&dir).ok()?;
    let writable = rustix::fs::access(&dir, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type of f_type differs between architectures"
    )]
    let magic = (magic as u64) & 0xffff_ffff;
    Some(Candidate {
        dir,
        kind: kind_of(magic),
        writable,
        free_bytes: space.f_bavail * space.f_frsize,
    })
}

/// The candidate that would be taken.
pub(super) fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    let usable =
        |candidate: &&Candidate| candidate.writable && !matches!(candidate.kind, FsKind::Remote(_));
    let on_disk =
        |candidate: &&Candidate| usable(candidate) && !matches!(candidate.kind, FsKind::Memory(_));
    candidates
        .iter()
        .find(on_disk)
        .or_else(|| candidates.iter().find(usable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(dir: &str, kind: FsKind, writable: bool) -> Candidate {
        Candidate {
            dir: dir.into(),
            kind,
            writable,
            free_bytes: 1,
        }
    }

    #[test]
    fn local_disks_before_memory_and_never_remote() {
        let all = [
            candidate("/nfs", FsKind::Remote("nfs"), true),
            candidate("/shm", FsKind::Memory("tmpfs"), true),
            candidate("/closed", FsKind::Local("xfs"), false),
            candidate("/var/tmp", FsKind::Local("ext4"), true),
        ];
        assert_eq!(
            choose(&all).map(|found| found.dir.clone()),
            Some("/var/tmp".into())
        );
        assert_eq!(
            choose(&all[..3]).map(|found| found.dir.clone()),
            Some("/shm".into())
        );
        assert_eq!(choose(&all[..1]), None);
    }
}
