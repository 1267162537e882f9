//! Packs a [`PackTree`] into a SIF with a squashfs file system.

use super::data::DataSet;
use super::sys;
use super::tree::{Entry, PackTree};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use skiff_fs::format::sif::{Arch, FsType, ImageParts, WriterOptions, image as sif};
use skiff_fs::format::squashfs::write::{SquashfsWriter, WriteOptions};
use skiff_fs::pack::{Content, Inode, InodeId, InodeTree, Metadata, Sink};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes the SIF `image` with `tree` as its root, zstd-compressed in blocks of 128 KiB and owned by
/// root; shows how far it is on a terminal.
///
/// # Errors
/// What reading the host's files or writing reports; any error after Ctrl-C.
pub(super) fn pack_sif(tree: &PackTree, image: &Path) -> Result<()> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(image)
        .with_context(|| format!("making {}", image.display()))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let time = i64::try_from(now).unwrap_or(i64::MAX);
    let parts = ImageParts {
        definition: None,
        json: &BTreeMap::new(),
        arch: Arch::host(),
        fs: FsType::Squashfs,
        options: WriterOptions::made_at(time)?,
    };
    sif::write(file, &parts, |file, offset| {
        let size = pack(tree, file, offset, time).context("packing")?;
        Ok::<_, anyhow::Error>(sif::WrittenRoot::plain(size))
    })?;
    Ok(())
}

/// Writes the squashfs file system of `tree` into `out` from byte `offset` on; how long it is.
fn pack(tree: &PackTree, out: File, offset: u64, now: i64) -> Result<u64> {
    let bar = ProgressBar::new(tree.total_len());
    let template = "{bar:40} {bytes:>11} of {total_bytes}  {binary_bytes_per_sec}";
    bar.set_style(ProgressStyle::with_template(template).context("progress template")?);
    let outcome = write(tree, out, offset, now, &bar);
    bar.finish_and_clear();
    outcome
}

fn write(tree: &PackTree, out: File, offset: u64, now: i64, bar: &ProgressBar) -> Result<u64> {
    let options = WriteOptions {
        time: now,
        ..WriteOptions::default()
    };
    let mut sink = Box::new(SquashfsWriter::new(out, offset, options)?);
    let metadata = |permissions, mtime| Metadata {
        permissions,
        mtime,
        ..Metadata::default()
    };
    let mut inodes = InodeTree::new(metadata(0o755, now));
    let mut known = HashMap::from([(PathBuf::new(), InodeId::ROOT)]);
    for (path, entry) in tree.iter() {
        let adding = || format!("adding {}", path.display());
        let mut file = |content| {
            let mut content = Metered { content, bar };
            let data = sink.file(entry.len(), &mut content)?;
            Ok::<_, anyhow::Error>(Content::File(data, entry.len()))
        };
        let (metadata, content) = match entry {
            Entry::Directory => (metadata(0o755, now), Content::Directory(BTreeMap::new())),
            Entry::Link(target) => {
                let target = target.as_os_str().as_bytes();
                (metadata(0o777, now), Content::Symlink(target.into()))
            }
            Entry::HostFile {
                source,
                mode,
                mtime,
                ..
            } => {
                let content = file(Origin::Later(source.clone())).with_context(adding)?;
                (metadata(u32::from(*mode), i64::from(*mtime)), content)
            }
            Entry::Text { bytes, mode } => {
                let made = Origin::Made(Box::new(Cursor::new(bytes.as_slice())));
                let content = file(made).with_context(adding)?;
                (metadata(u32::from(*mode), now), content)
            }
            Entry::Generated { seed, len } => {
                let made = Origin::Made(Box::new(DataSet::new(*seed, *len)));
                (metadata(0o644, now), file(made).with_context(adding)?)
            }
        };
        let id = inodes
            .add(Inode { metadata, content })
            .with_context(adding)?;
        let names = path
            .parent()
            .and_then(|parent| inodes.names_mut(*known.get(parent)?));
        let name = path.file_name().with_context(adding)?;
        names
            .with_context(adding)?
            .insert(name.as_bytes().into(), id);
        known.insert(path.to_owned(), id);
    }
    Ok(sink.finish(&inodes)?)
}

/// Content of one file. A host file is open only while it is read: there may be thousands.
enum Origin<'a> {
    Later(PathBuf),
    Open(File),
    Made(Box<dyn Read + 'a>),
    Done,
}

/// Counts what goes by on the progress bar, and stops on Ctrl-C.
struct Metered<'a> {
    content: Origin<'a>,
    bar: &'a ProgressBar,
}

impl Read for Metered<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if sys::interrupted() {
            return Err(io::Error::other("interrupted"));
        }
        if let Origin::Later(path) = &self.content {
            let file = File::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            self.content = Origin::Open(file);
        }
        let len = match &mut self.content {
            Origin::Open(file) => file.read(out)?,
            Origin::Made(reader) => reader.read(out)?,
            Origin::Later(_) | Origin::Done => 0,
        };
        if len == 0 && !out.is_empty() {
            self.content = Origin::Done;
        }
        self.bar.inc(len as u64);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_fs::format::squashfs::SquashfsOptions;
    use skiff_fs::image::Image;
    use skiff_fs::tree::Segment;

    #[test]
    fn our_own_reader_reads_it_back() {
        let mut tree = PackTree::default();
        tree.add(
            "etc/motd",
            Entry::Text {
                bytes: b"hello\n".to_vec(),
                mode: 0o644,
            },
        );
        tree.add(
            "data/a.csv",
            Entry::Generated {
                seed: 1,
                len: 300_000,
            },
        );
        tree.add("bin", Entry::Link("usr/bin".into()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sif");
        pack_sif(&tree, &path).unwrap();

        let image = Image::open(&path).unwrap();
        assert_eq!(image.arch(), Some(Arch::host()));
        let tree = image.tree(&SquashfsOptions::default()).unwrap();
        let find = |dir, name: &str| tree.lookup(dir, name.as_bytes()).unwrap().unwrap();
        let file = find(find(tree.root(), "data"), "a.csv");
        assert_eq!(tree.attr(file).unwrap().size, 300_000);
        let mut expected = Vec::new();
        DataSet::new(1, 300_000).read_to_end(&mut expected).unwrap();
        let mut segments = Vec::new();
        tree.read(file, 0, 300_000, &mut segments).unwrap();
        let found: Vec<u8> = segments
            .iter()
            .flat_map(|segment| match segment {
                Segment::Bytes(bytes, range) => bytes[range.clone()].to_vec(),
                Segment::Zeros(len) => vec![0; *len],
            })
            .collect();
        assert!(found == expected);
        assert_eq!(
            tree.read_link(find(tree.root(), "bin")).unwrap(),
            b"usr/bin"
        );
    }
}
