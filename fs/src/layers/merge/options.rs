//! What becomes of owners, devices, attributes: what the image may have, and who unpacks it.

use std::collections::HashSet;
use std::sync::Arc;

use super::records::Said;
use crate::pack::{Metadata, Xattr};

/// Whom files shall belong to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Owners {
    /// Whom the layers say.
    Keep,
    /// Root, all of them: what an image made by an ordinary user has.
    #[default]
    AllRoot,
    /// First id in the layers, first id in the result, how many. Others become 65534.
    Map(Vec<(u32, u32, u32)>),
}

/// What becomes of devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Devices {
    /// They stay.
    Keep,
    /// Empty files stand for them.
    #[default]
    EmptyFile,
}

/// Which extended attributes stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Xattrs {
    /// All that a container can use.
    All,
    /// Those of the user's own namespace.
    #[default]
    UserOnly,
}

/// How layers are merged. The default is what an ordinary user gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergeOptions {
    /// Whom files shall belong to.
    pub owners: Owners,
    /// What becomes of devices.
    pub devices: Devices,
    /// Which extended attributes stay.
    pub xattrs: Xattrs,
    /// Whether owners get at everything: `u+rwx` for directories, `u+rw` for files.
    pub fix_perms: bool,
    /// Most entries of one layer.
    pub entries: u64,
    /// Time of directories that no layer has, but which files lie in.
    pub mtime: i64,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self {
            owners: Owners::default(),
            devices: Devices::default(),
            xattrs: Xattrs::default(),
            fix_perms: false,
            entries: 20_000_000,
            mtime: 0,
        }
    }
}

impl MergeOptions {
    /// What root gets: everything as it is in the layers.
    pub fn root() -> Self {
        Self {
            owners: Owners::Keep,
            devices: Devices::Keep,
            xattrs: Xattrs::All,
            ..Self::default()
        }
    }
}

/// The options, and what they have done so far.
#[derive(Debug)]
pub(super) struct Policy<'a> {
    options: &'a MergeOptions,
    devices: u64,
    dropped: u64,
    /// Lists of attributes that have been seen: most files have one of a few.
    known: HashSet<Arc<[Xattr]>>,
}

impl<'a> Policy<'a> {
    pub(super) fn new(options: &'a MergeOptions) -> Self {
        Self {
            options,
            devices: 0,
            dropped: 0,
            known: HashSet::from([Arc::from([])]),
        }
    }

    pub(super) fn options(&self) -> &'a MergeOptions {
        self.options
    }

    pub(super) fn devices(&self) -> u64 {
        self.devices
    }

    pub(super) fn dropped_xattrs(&self) -> u64 {
        self.dropped
    }

    pub(super) fn replaces_devices(&self) -> bool {
        self.options.devices == Devices::EmptyFile
    }

    pub(super) fn count_device(&mut self) {
        self.devices += 1;
    }

    /// Metadata as the result shall have it.
    pub(super) fn metadata(&mut self, mut metadata: Metadata, said: &Said) -> Metadata {
        metadata.uid = self.owner(metadata.uid);
        metadata.gid = self.owner(metadata.gid);
        metadata.permissions &= 0o7777;
        if self.options.fix_perms {
            metadata.permissions |= match said {
                Said::Directory => 0o700,
                Said::File(..) => 0o600,
                _ => 0,
            };
        }
        metadata.xattrs = self.xattrs(metadata.xattrs, said);
        metadata
    }

    fn owner(&self, id: u32) -> u32 {
        match &self.options.owners {
            Owners::Keep => id,
            Owners::AllRoot => 0,
            Owners::Map(ranges) => ranges
                .iter()
                .find_map(|&(from, to, count)| {
                    let place = id.checked_sub(from).filter(|&place| place < count)?;
                    to.checked_add(place)
                })
                .unwrap_or(65_534),
        }
    }

    fn xattrs(&mut self, xattrs: Arc<[Xattr]>, said: &Said) -> Arc<[Xattr]> {
        let all = xattrs.len();
        // Linux lets nothing but files and directories have attributes of the user's namespace.
        let ordinary = matches!(said, Said::File(..) | Said::Directory);
        let stays = |name: &[u8]| {
            if name.starts_with(b"user.") {
                ordinary && name.len() > 5 && name != b"user.rootlesscontainers"
            } else {
                self.options.xattrs == Xattrs::All
                    && (name.starts_with(b"trusted.") || name.starts_with(b"security."))
                    && name != b"security.selinux"
            }
        };
        let kept = if xattrs.iter().all(|(name, _)| stays(name)) {
            xattrs
        } else {
            let kept: Vec<Xattr> = xattrs
                .iter()
                .filter(|(name, _)| stays(name))
                .cloned()
                .collect();
            kept.into()
        };
        self.dropped += (all - kept.len()) as u64;
        if let Some(known) = self.known.get(&kept) {
            return Arc::clone(known);
        }
        self.known.insert(Arc::clone(&kept));
        kept
    }
}
