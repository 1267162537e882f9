//! Packs a [`PackTree`] into a SIF with a squashfs file system.

use super::data::DataSet;
use super::sys;
use super::tree::{Entry, PackTree};
use anyhow::{Context, Result};
use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use indicatif::{ProgressBar, ProgressStyle};
use skiff_fs::format::sif::{
    Arch, DataType, Extra, FsType, NewObject, PartitionType, Writer, WriterOptions,
};
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Write};
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
    let mut uuid = [0; 16];
    rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())?;
    let time = i64::try_from(now).unwrap_or(i64::MAX);
    let mut writer = Writer::new(
        file,
        WriterOptions {
            uuid,
            time,
            launch_script: true,
        },
    );
    let root = NewObject {
        data_type: DataType::Partition,
        name: "rootfs",
        extra: Extra::Partition {
            fs: FsType::Squashfs,
            kind: PartitionType::PrimarySystem,
            arch: Arch::host(),
        },
    };
    writer
        .add_with(root, |file, offset| {
            pack(tree, file, offset, now).map_err(io::Error::other)?;
            Ok::<_, io::Error>(file.metadata()?.len().saturating_sub(offset))
        })
        .context("packing")?;
    writer.finish().context("finishing the image")?;
    Ok(())
}

/// Writes the squashfs file system of `tree` into `out` from byte `offset` to its end.
fn pack(tree: &PackTree, out: &mut File, offset: u64, now: u64) -> Result<()> {
    let bar = ProgressBar::new(tree.total_len());
    let template = "{bar:40} {bytes:>11} of {total_bytes}  {binary_bytes_per_sec}";
    bar.set_style(ProgressStyle::with_template(template).context("progress template")?);
    let outcome = write(tree, out, offset, now, &bar);
    bar.finish_and_clear();
    outcome
}

fn write(tree: &PackTree, out: &mut File, offset: u64, now: u64, bar: &ProgressBar) -> Result<()> {
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let mut writer = FilesystemWriter::default();
    writer.set_time(now);
    writer.set_compressor(FilesystemCompressor::new(Compressor::Zstd, None)?);
    writer.set_only_root_id();
    writer.set_root_mode(0o755);
    let made = |content| Metered::new(Content::Made(content), bar);
    let header = |permissions, mtime| NodeHeader::new(permissions, 0, 0, mtime);
    for (path, entry) in tree.iter() {
        match entry {
            Entry::Directory => writer.push_dir(path, header(0o755, now)),
            Entry::Link(target) => writer.push_symlink(target, path, header(0o777, now)),
            Entry::HostFile {
                source,
                mode,
                mtime,
                ..
            } => {
                let content = Metered::new(Content::Later(source.clone()), bar);
                writer.push_file(content, path, header(*mode, *mtime))
            }
            Entry::Text { bytes, mode } => {
                let content = made(Box::new(Cursor::new(bytes.as_slice())));
                writer.push_file(content, path, header(*mode, now))
            }
            Entry::Generated { seed, len } => {
                let content = made(Box::new(DataSet::new(*seed, *len)));
                writer.push_file(content, path, header(0o644, now))
            }
        }
        .with_context(|| format!("adding {}", path.display()))?;
    }
    let mut buffered = BufWriter::with_capacity(1 << 20, out);
    writer
        .write_with_offset(&mut buffered, offset)
        .context("packing")?;
    buffered.flush().context("packing")
}

/// Content of one file. A host file is open only while it is read: there may be thousands.
enum Content<'a> {
    Later(PathBuf),
    Open(File),
    Made(Box<dyn Read + 'a>),
    Done,
}

/// Counts what goes by on the progress bar, and stops on Ctrl-C.
struct Metered<'a> {
    content: Content<'a>,
    bar: &'a ProgressBar,
}

impl<'a> Metered<'a> {
    const fn new(content: Content<'a>, bar: &'a ProgressBar) -> Self {
        Self { content, bar }
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if sys::interrupted() {
            return Err(io::Error::other("interrupted"));
        }
        if let Content::Later(path) = &self.content {
            let file = File::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            self.content = Content::Open(file);
        }
        let len = match &mut self.content {
            Content::Open(file) => file.read(out)?,
            Content::Made(reader) => reader.read(out)?,
            Content::Later(_) | Content::Done => 0,
        };
        if len == 0 && !out.is_empty() {
            self.content = Content::Done;
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
