//! Packs directories with the writer.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use skiff_fs::format::squashfs::write::{SquashfsWriter, WriteOptions};
use skiff_fs::pack::{Content, Inode, InodeId, InodeTree, Metadata, Sink, Xattr};

/// A walk that hands over all it finds.
struct Walk {
    sink: Box<SquashfsWriter>,
    tree: InodeTree,
    /// Files with several names, by device and number.
    known: HashMap<(u64, u64), InodeId>,
}

/// Packs all that is below `source` into the file `image`, from byte `offset` on; how long the
/// file system is.
pub(crate) fn pack(source: &Path, image: &Path, offset: u64, options: WriteOptions) -> u64 {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(image)
        .unwrap();
    let mut walk = Walk {
        sink: Box::new(SquashfsWriter::new(file, offset, options).unwrap()),
        tree: InodeTree::new(metadata(source)),
        known: HashMap::new(),
    };
    let mut open = vec![(source.to_owned(), InodeId::ROOT)];
    while let Some((path, id)) = open.pop() {
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            let path = path.join(&name);
            let child = walk.add(&path);
            walk.tree
                .names_mut(id)
                .unwrap()
                .insert(name.as_bytes().into(), child);
            if walk.tree.names(child).is_some() {
                open.push((path, child));
            }
        }
    }
    walk.sink.finish(&walk.tree).unwrap()
}

impl Walk {
    fn add(&mut self, path: &Path) -> InodeId {
        let found = fs::symlink_metadata(path).unwrap();
        let key = (found.dev(), found.ino());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let device = u32::try_from(found.rdev()).unwrap();
        let kind = found.file_type();
        let content = if kind.is_dir() {
            Content::Directory(BTreeMap::new())
        } else if kind.is_symlink() {
            Content::Symlink(fs::read_link(path).unwrap().as_os_str().as_bytes().into())
        } else if kind.is_char_device() {
            Content::CharDevice(device)
        } else if kind.is_block_device() {
            Content::BlockDevice(device)
        } else if kind.is_fifo() {
            Content::Fifo
        } else if kind.is_socket() {
            Content::Socket
        } else {
            let mut file = File::open(path).unwrap();
            let data = self.sink.file(found.len(), &mut file).unwrap();
            Content::File(data, found.len())
        };
        let id = self
            .tree
            .add(Inode {
                metadata: metadata(path),
                content,
            })
            .unwrap();
        if !kind.is_dir() && found.nlink() > 1 {
            self.known.insert(key, id);
        }
        id
    }
}

fn metadata(path: &Path) -> Metadata {
    let found = fs::symlink_metadata(path).unwrap();
    Metadata {
        permissions: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        mtime: found.mtime(),
        xattrs: xattrs(path),
    }
}

fn xattrs(path: &Path) -> Arc<[Xattr]> {
    let mut buffer = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut buffer[..]).unwrap_or(0);
    let mut names: Vec<_> = buffer[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(len);
        value.into_boxed_slice()
    };
    names
        .into_iter()
        .map(|name| (name.into(), value(name)))
        .collect()
}
