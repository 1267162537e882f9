use std::fs::File;

use skiff_cache::disk::{About, BlobKey, BlobKind, Cache, Limits};
use skiff_fs::format::squashfs::write::{SquashfsWriter, WriteOptions};
use skiff_fs::image::Image;
use skiff_fs::layers::merge::{MergeOptions, merge};
use skiff_fs::layers::{Layer, MemoryLayer};
use skiff_fs::pack::{Metadata, Sink};
use skiff_fs::source::CachedSource;
use skiff_fs::source::origin::FileOrigin;
use skiff_fs::tree::NodeRef;
use tempfile::TempDir;

use super::*;
use select::Files;
use view::View;

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// An image whose bytes are fetched from a file into a cache.
struct Sample {
    _dir: TempDir,
    view: View,
    source: Arc<CachedSource>,
}

const DATA: usize = 3 << 20;

fn sample() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.sqfs");
    let mut layer = MemoryLayer::new("sample");
    let metadata = |permissions| Metadata {
        permissions,
        ..Metadata::default()
    };
    for folder in [
        "usr",
        "usr/lib",
        "usr/bin",
        "bin",
        "opt",
        "opt/deep",
        "etc",
        ".singularity.d",
    ] {
        layer.directory(folder, metadata(0o755));
    }
    let mut file = |path: &str, content: Vec<u8>| {
        layer.file(path, content, metadata(0o755));
    };
    file("usr/lib/a.so", noise(1, 300_000));
    file("usr/lib/b.txt", noise(2, 200_000));
    file("opt/data", noise(3, DATA));
    file("opt/deep/more", noise(4, 150_000));
    file("bin/sh", noise(5, 250_000));
    file("usr/bin/tool", b"#!/bin/sh\n".to_vec());
    file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n".to_vec());
    file(
        ".singularity.d/runscript",
        b"#!/bin/sh\nexec tool \"$@\"\n".to_vec(),
    );
    for (link, target) in [
        ("lib", "usr/lib"),
        ("opt/loop", "/opt"),
        ("opt/alias", "data"),
    ] {
        layer.symlink(link, target, metadata(0o777));
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let options = WriteOptions::default();
    let mut sink = Box::new(SquashfsWriter::new(file, 0, options).unwrap());
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(layer)];
    let merged = merge(layers, &mut *sink, &MergeOptions::default(), &mut |_| {}).unwrap();
    sink.finish(&merged.tree).unwrap();

    let file = File::open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    let origin = FileOrigin::new(file, "image".into()).unwrap();
    let limits = Limits {
        quota: Some(1 << 30),
        keep_free: Some(0),
    };
    let cache = Cache::open(&dir.path().join("cache"), limits).unwrap();
    let about = About {
        name: "image".into(),
        size,
        digest: None,
        kind: BlobKind::File,
    };
    let blob = cache.blob(&BlobKey::new("image"), &about).unwrap();
    let source = CachedSource::new(size, None, Some(blob), Arc::new(origin));
    let image = Image::from_source(Arc::clone(&source) as _, &path).unwrap();
    let view = View::open(image, Arc::clone(&source)).unwrap();
    Sample {
        _dir: dir,
        view,
        source,
    }
}

impl Sample {
    fn by_glob(&self, pattern: &str) -> Vec<NodeRef> {
        let mut files = Files::default();
        let glob = Glob::parse(pattern.as_bytes()).unwrap();
        select::by_glob(self.view.tree(), &glob, &mut files).unwrap();
        files.take()
    }

    fn node(&self, path: &str) -> NodeRef {
        let found = skiff_fs::tree::path::resolve(self.view.tree(), path.as_bytes(), true);
        found.unwrap().unwrap()
    }

    fn is_cached(&self, path: &str) -> bool {
        let places = self.view.places(&[self.node(path)]).unwrap();
        places
            .into_iter()
            .all(|place| self.source.missing(place).is_empty())
    }

    fn fetch(&self, nodes: &[NodeRef], room: u64, budget: &Budget) -> anyhow::Result<bool> {
        let places = self.view.places(nodes)?;
        fetch::ranges(&self.source, &places, None, room, budget)
    }
}

#[test]
fn patterns_find_files() {
    let sample = sample();
    let nodes = |paths: &[&str]| {
        let mut nodes: Vec<_> = paths.iter().map(|path| sample.node(path)).collect();
        nodes.sort();
        nodes
    };
    for (pattern, paths) in [
        ("/usr/lib/*.so", &["usr/lib/a.so"] as &[&str]),
        // Through a link to a directory, and a directory that stands for what is in it.
        ("/lib/*", &["usr/lib/a.so", "usr/lib/b.txt"]),
        ("/usr", &["usr/lib/a.so", "usr/lib/b.txt", "usr/bin/tool"]),
        // A link that is a circle is not followed for ever.
        ("/opt/**", &["opt/data", "opt/deep/more"]),
        ("/opt/alias", &["opt/data"]),
        ("/**/more", &["opt/deep/more"]),
        ("/none/**", &[]),
    ] {
        let mut found = sample.by_glob(pattern);
        found.sort();
        assert_eq!(found, nodes(paths), "{pattern}");
    }
    let mut files = Files::default();
    assert!(select::by_path(sample.view.tree(), b"/lib/a.so", &mut files).unwrap());
    assert!(select::by_path(sample.view.tree(), b"opt/deep", &mut files).unwrap());
    assert!(!select::by_path(sample.view.tree(), b"/none", &mut files).unwrap());
    assert_eq!(
        files.take(),
        [sample.node("usr/lib/a.so"), sample.node("opt/deep/more")]
    );
}

#[test]
fn files_are_fetched_and_no_others() {
    let sample = sample();
    let budget = Budget::new(None);
    assert!(!sample.is_cached("opt/data"));
    assert!(
        sample
            .fetch(&sample.by_glob("/opt/data"), u64::MAX, &budget)
            .unwrap()
    );
    assert!(sample.is_cached("opt/data"));
    assert!(!sample.is_cached("bin/sh") && !sample.is_cached("usr/lib/a.so"));
    let before = sample.source.figures().origin.bytes;
    assert!(before < DATA as u64 + 400_000, "{before}");
    assert!(
        sample
            .fetch(&sample.by_glob("/opt/data"), u64::MAX, &budget)
            .unwrap()
    );
    assert_eq!(
        sample.source.figures().origin.bytes,
        before,
        "fetched again"
    );
}

#[test]
fn budget_and_room_are_kept() {
    let sample = sample();
    let before = sample.source.figures().origin.bytes;
    let all = sample.by_glob("/opt/data");
    assert!(
        !sample
            .fetch(&all, u64::MAX, &Budget::new(Some(1 << 20)))
            .unwrap()
    );
    let fetched = sample.source.figures().origin.bytes - before;
    assert!((1 << 20..(1 << 20) + 8192).contains(&fetched), "{fetched}");
    let error = sample.fetch(&all, 4096, &Budget::new(None)).unwrap_err();
    assert!(error.to_string().contains("do not fit"), "{error}");
    assert_eq!(sample.source.figures().origin.bytes - before, fetched);
}

#[test]
fn what_start_up_needs() {
    let sample = sample();
    let budget = Budget::new(None);
    startup::warm(&sample.view, &mut |files| {
        sample.fetch(files, u64::MAX, &budget).map(drop)
    })
    .unwrap();
    for path in [
        "bin/sh",
        "usr/bin/tool",
        "etc/passwd",
        ".singularity.d/runscript",
    ] {
        assert!(sample.is_cached(path), "{path}");
    }
    assert!(!sample.is_cached("opt/data") && !sample.is_cached("usr/lib/b.txt"));
}
