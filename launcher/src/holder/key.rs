//! Which launches share a holder.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::idmap::IdMap;

/// Everything that must be equal for two launches to share one mount, as text.
///
/// The image by identity and not by name; the user and group ids that its files will belong to; the
/// namespaces the caller stands in, since a user namespace can be joined only from its parent and
/// process ids mean nothing elsewhere; the job step, whose processes the scheduler ends together;
/// and the version of skiff, so that an upgrade never talks to its predecessor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderKey(String);

/// Variables that name a job step or a login session: where such a one ends, its processes are ended.
const STEP_VARIABLES: &[&str] = &["SLURM_JOB_ID", "SLURM_STEP_ID", "XDG_SESSION_ID"];

impl HolderKey {
    /// The key of the image with `metadata`, of which the file system at byte `offset` is mounted,
    /// for the calling process.
    ///
    /// # Errors
    /// When /proc does not tell the caller's namespaces.
    pub fn new(metadata: &Metadata, offset: u64) -> io::Result<Self> {
        Self::of_identity(&format!(
            "{}:{} {} {}.{}+{offset}",
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ))
    }

    /// The key of an image that is no file here but has an `identity` of its own, such as a digest,
    /// for the calling process.
    ///
    /// # Errors
    /// When /proc does not tell the caller's namespaces.
    pub fn of_identity(identity: &str) -> io::Result<Self> {
        use std::fmt::Write as _;
        let mut text = format!(
            "skiff {} uid {} gid {} image {identity}",
            env!("CARGO_PKG_VERSION"),
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        for namespace in ["user", "pid"] {
            let stat = rustix::fs::stat(format!("/proc/self/ns/{namespace}"))?;
            // Writing to a string cannot fail.
            let _infallible = write!(text, " {namespace} {}", stat.st_ino);
        }
        for variable in STEP_VARIABLES {
            if let Some(value) = std::env::var_os(variable) {
                let _infallible = write!(text, " {variable} {:?}", OsStr::new(&value));
            }
        }
        Ok(Self(text))
    }

    /// The key of those who want `ids` in the image's user namespace.
    pub fn with_ids(mut self, ids: Option<&IdMap>) -> Self {
        use std::fmt::Write as _;
        if let Some(ids) = ids {
            // Writing to a string cannot fail.
            let _infallible = write!(self.0, " ids {ids}");
        }
        self
    }

    /// A key that no other launch has.
    pub fn alone(mut self) -> Self {
        use std::fmt::Write as _;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let pid = std::process::id();
        // Writing to a string cannot fail.
        let _infallible = write!(self.0, " alone {pid} {}.{}", now.tv_sec, now.tv_nsec);
        self
    }

    /// A key received from another process.
    pub(crate) fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Name of the socket: a digest of the text. Peers compare the whole text as well.
    pub(crate) fn socket_name(&self) -> String {
        // Fixed keys: the name must come out the same in every process.
        let mut hasher = DefaultHasher::new();
        hasher.write(self.0.as_bytes());
        format!("{:016x}.sock", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_image_and_offset() {
        let one = std::fs::metadata("/proc/self/exe").unwrap();
        let two = std::fs::metadata("/").unwrap();
        let key = |metadata, offset| HolderKey::new(metadata, offset).unwrap();
        assert_eq!(key(&one, 0), key(&one, 0));
        assert_ne!(key(&one, 0), key(&one, 4096));
        assert_ne!(key(&one, 0).socket_name(), key(&two, 0).socket_name());
        let ids = IdMap::single(0, 0);
        assert_eq!(key(&one, 0).with_ids(None), key(&one, 0));
        assert_ne!(key(&one, 0).with_ids(Some(&ids)), key(&one, 0));
        assert_ne!(key(&one, 0).alone(), key(&one, 0));
        assert_ne!(key(&one, 0).alone(), key(&one, 0).alone());
    }
}
