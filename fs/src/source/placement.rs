//! Whether a file is on a disk of this machine.

use std::os::fd::AsFd;

/// File systems whose files are on other machines, by the magic numbers of statfs(2): reading them
/// takes a network, and often a server that everybody else is asking as well.
const FAR: [(i64, &str); 17] = [
    (0x6969, "nfs"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0x00C3_6400, "ceph"),
    // sshfs, CVMFS, s3fs, gcsfuse, glusterfs.
    (0x6573_5546, "fuse"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x517B, "smb"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "kafs"),
    (0x7375_7245, "coda"),
    (0x2003_0528, "orangefs"),
    (0xAAD7_AAEA, "panfs"),
    (0x0161_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
];

/// Set to 1 (all files are far) or 0 (none is), in place of what the file system says.
pub const OVERRIDE_VARIABLE: &str = "SKIFF_CACHE_FILES";

/// Whether reading `file` means asking another machine. One that cannot be looked at is near.
pub fn is_far(file: impl AsFd) -> bool {
    if let Some(value) = std::env::var_os(OVERRIDE_VARIABLE) {
        return value == "1";
    }
    rustix::fs::fstatfs(file).is_ok_and(|stat| name_of(stat.f_type).is_some())
}

/// The far file system with this magic number.
fn name_of(magic: i64) -> Option<&'static str> {
    // Some platforms sign-extend the 32 bits.
    let magic = magic & 0xFFFF_FFFF;
    FAR.iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magics() {
        assert_eq!(name_of(0x0BD0_0BD0), Some("lustre"));
        assert_eq!(name_of(0xFF53_4D42_u32.cast_signed().into()), Some("cifs"));
        assert_eq!(name_of(0xEF53), None);
        assert_eq!(name_of(0x0102_1994), None, "tmpfs");
    }
}
