use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::sync::Mutex;

use super::*;
use crate::layers::{DirectoryLayer, EntryKind, MemoryLayer, MergeOptions, merge};
use crate::pack::Metadata;

fn metadata(permissions: u32) -> Metadata {
    Metadata {
        permissions,
        mtime: 1_000_000,
        ..Metadata::default()
    }
}

fn write(layer: MemoryLayer, target: &Path, replace: bool) -> Result<u64, SinkError> {
    let options = DirectoryOptions {
        replace,
        ..DirectoryOptions::default()
    };
    let mut sink = DirectorySink::create(target, options)?;
    let merged = merge(
        vec![Box::new(layer)],
        &mut sink,
        &MergeOptions::default(),
        &mut |_| {},
    )
    .unwrap();
    Box::new(sink).finish(&merged.tree)
}

fn left(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn sample() -> MemoryLayer {
    let mut layer = MemoryLayer::new("layer");
    let mut sparse = vec![0; 1 << 20];
    sparse[500_000] = 1;
    layer.directory("", metadata(0o555));
    layer.directory("closed", metadata(0o000));
    layer.file("closed/none", "secret", metadata(0o000));
    layer.file("program", "#!", metadata(0o4755));
    layer.file("sparse", sparse, metadata(0o644));
    layer.symlink("outside", "/etc/passwd", metadata(0o777));
    layer.add("pipe", EntryKind::Fifo, metadata(0o600));
    let target = b"program".to_vec();
    layer.add("second", EntryKind::HardLink { target }, metadata(0));
    layer
}

/// Opens what [`sample`] has closed, for whoever removes the folder.
fn open(target: &Path) {
    for name in ["", "closed"] {
        fs::set_permissions(target.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn all_kinds_with_their_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("box");
    write(sample(), &target, false).unwrap();
    assert_eq!(left(folder.path()), ["box"]);
    let of = |name: &str| fs::symlink_metadata(target.join(name)).unwrap();
    for (name, mode) in [
        ("", 0o555),
        ("closed", 0),
        ("program", 0o4755),
        ("pipe", 0o600),
    ] {
        assert_eq!(of(name).mode() & 0o7777, mode, "{name}");
        assert_eq!(of(name).mtime(), 1_000_000, "{name}");
    }
    assert_eq!(of("program").ino(), of("second").ino());
    assert_eq!(of("outside").mtime(), 1_000_000);
    assert!(of("pipe").file_type().is_fifo());
    assert_eq!(of("sparse").len(), 1 << 20);
    assert!(of("sparse").blocks() < 512, "{}", of("sparse").blocks());
    assert_eq!(fs::read(target.join("sparse")).unwrap()[500_000], 1);
    open(&target);
    assert_eq!(of("closed/none").mode() & 0o7777, 0);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("box");
    write(sample(), &target, false).unwrap();
    let mut other = MemoryLayer::new("other");
    other.file("new", "1", metadata(0o644));
    assert!(matches!(
        write(other.clone(), &target, false),
        Err(SinkError::Write { .. })
    ));
    assert!(target.join("program").exists());
    write(other.clone(), &target, true).unwrap();
    assert_eq!(left(&target), ["new"]);
    assert_eq!(left(folder.path()), ["box"]);
    // A file, or a link, which is replaced and not followed.
    fs::write(folder.path().join("file"), "").unwrap();
    write(other.clone(), &folder.path().join("file"), true).unwrap();
    std::os::unix::fs::symlink("box", folder.path().join("link")).unwrap();
    write(sample(), &folder.path().join("link"), true).unwrap();
    assert_eq!(left(&target), ["new"]);
    open(&folder.path().join("link"));
}

#[test]
fn nothing_is_left_of_what_fails_or_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("box");
    let mut sink = DirectorySink::create(&target, DirectoryOptions::default()).unwrap();
    sink.file(3, &mut &b"abc"[..]).unwrap();
    assert!(matches!(
        sink.file(3, &mut &b"ab"[..]),
        Err(SinkError::Content(_))
    ));
    assert_eq!(left(folder.path()).len(), 1);
    // Another run beside it leaves it alone.
    let other = DirectorySink::create(&target, DirectoryOptions::default()).unwrap();
    assert_eq!(left(folder.path()).len(), 2);
    drop((sink, other));
    assert!(left(folder.path()).is_empty());

    let stale = folder.path().join(".skiff-build-0000000000000000");
    fs::create_dir_all(stale.join("root/closed/deep")).unwrap();
    fs::write(stale.join("root/closed/deep/file"), "").unwrap();
    fs::set_permissions(stale.join("root/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let deep = "d/".repeat(1500);
    let mut at = stale.join("root");
    for _ in deep.split('/') {
        at.push("d");
    }
    fs::create_dir_all(&at).unwrap();
    drop(DirectorySink::create(&target, DirectoryOptions::default()).unwrap());
    assert!(left(folder.path()).is_empty());
}

#[test]
fn a_directory_read_back_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    write(sample(), &first, false).unwrap();
    open(&first);
    fs::set_permissions(first.join("closed/none"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut sink = DirectorySink::create(&second, DirectoryOptions::default()).unwrap();
    let layer = Box::new(DirectoryLayer::new(&first));
    let merged = merge(
        vec![layer],
        &mut sink,
        &MergeOptions::default(),
        &mut |_| {},
    )
    .unwrap();
    Box::new(sink).finish(&merged.tree).unwrap();
    for name in ["program", "sparse", "closed/none"] {
        assert!(fs::read(first.join(name)).unwrap() == fs::read(second.join(name)).unwrap());
    }
    let ino = |name: &str| fs::symlink_metadata(second.join(name)).unwrap().ino();
    assert_eq!(ino("program"), ino("second"));
    assert_eq!(
        fs::read_link(second.join("outside")).unwrap(),
        Path::new("/etc/passwd")
    );
}

#[test]
fn losses_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("box");
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let options = DirectoryOptions {
        warn: Some(Arc::new(move |text| {
            listener.lock().unwrap().push(text.to_owned());
        })),
        ..DirectoryOptions::default()
    };
    let mut layer = MemoryLayer::new("layer");
    let xattrs = Arc::from(vec![(
        Box::from(*b"nonsense.a") as Box<[u8]>,
        Box::from(*b"1") as Box<[u8]>,
    )]);
    let metadata = Metadata {
        xattrs,
        ..metadata(0o644)
    };
    layer.file("file", "", metadata);
    let mut sink = DirectorySink::create(&target, options).unwrap();
    let root = MergeOptions::root();
    let mut merged = merge(vec![Box::new(layer)], &mut sink, &root, &mut |_| {}).unwrap();
    // Merging leaves such names out; a sink must stand them all the same.
    let id = merged.tree.names(crate::pack::InodeId::ROOT).unwrap()[&b"file"[..]];
    merged.tree.get_mut(id).metadata.xattrs = Arc::from(vec![(
        Box::from(*b"nonsense.a") as Box<[u8]>,
        Box::from(*b"1") as Box<[u8]>,
    )]);
    Box::new(sink).finish(&merged.tree).unwrap();
    assert_eq!(told.lock().unwrap().len(), 1);
}
