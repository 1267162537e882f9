use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn read(mut layer: DirectoryLayer) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut entries = Vec::new();
    layer.visit(&mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        entries.push((entry, bytes));
        Ok(())
    })?;
    Ok(entries)
}

fn shown_entries(entries: &[(Entry, Vec<u8>)]) -> Vec<String> {
    entries
        .iter()
        .map(|(entry, content)| {
            let path = String::from_utf8_lossy(&entry.path);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match &entry.kind {
                EntryKind::File { .. } => format!("{path}={}", text(content)),
                EntryKind::Directory => format!("{path}/"),
                EntryKind::Symlink { target } => format!("{path}>{}", text(target)),
                EntryKind::HardLink { target } => format!("{path}=>{}", text(target)),
                EntryKind::Whiteout => format!("-{path}"),
                EntryKind::Opaque => format!("!{path}"),
                other => format!("{path}:{other:?}"),
            }
        })
        .collect()
}

/// `false` where the file system has no such attributes.
fn set(path: &Path, name: &str, value: &str) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name, value.as_bytes(), flags).is_ok()
}

#[test]
fn sandboxes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("d/e")).unwrap();
    fs::write(root.join("d/e/deep"), "1").unwrap();
    fs::write(root.join("d/f"), "content").unwrap();
    fs::hard_link(root.join("d/f"), root.join("second")).unwrap();
    fs::write(root.join(".wh.ordinary"), "").unwrap();
    symlink("/etc", root.join("etc")).unwrap();
    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o1750)).unwrap();
    let with_attributes = set(&root.join("d"), "user.a", "1");
    let entries = read(DirectoryLayer::new(root)).unwrap();
    assert_eq!(
        shown_entries(&entries),
        [
            "/",
            ".wh.ordinary=",
            "etc>/etc",
            "second=content",
            "d/",
            "d/f=>second",
            "d/e/",
            "d/e/deep=1"
        ]
    );
    let directory = &entries[4].0.metadata;
    assert_eq!(directory.permissions, 0o1750);
    let expected: Vec<Xattr> = vec![(Box::from(*b"user.a"), Box::from(*b"1"))];
    assert!(!with_attributes || *directory.xattrs == *expected);
}

#[test]
fn upper_directories() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["a", "b", "c", "x"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for name in [
        ".wh.gone",
        "a/.wh..wh..opq",
        "b/.wh.gone",
        "x/empty",
        "kept",
    ] {
        fs::write(root.join(name), "").unwrap();
    }
    if !set(&root.join("c"), "user.overlay.opaque", "y") {
        return;
    }
    assert!(set(&root.join("x"), "user.overlay.opaque", "x"));
    assert!(set(&root.join("x/empty"), "user.overlay.whiteout", "y"));
    assert!(set(&root.join("kept"), "user.overlay.origin", "whatever"));
    assert!(set(&root.join("kept"), "user.own", "1"));
    let as_names = read(DirectoryLayer::upper(root)).unwrap();
    let as_names = shown_entries(&as_names).join(" ");
    assert!(
        as_names.contains(".wh.gone=") && !as_names.contains("-gone"),
        "{as_names}"
    );
    let entries = read(DirectoryLayer::upper(root).marked_by_names()).unwrap();
    assert_eq!(
        shown_entries(&entries),
        [
            "/", "-gone", "kept=", "a/", "!a", "b/", "-b/gone", "c/", "!c", "x/", "-x/empty"
        ]
    );
    let kept: Vec<_> = entries[2]
        .0
        .metadata
        .xattrs
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(kept, [b"user.own"]);

    assert!(set(&root.join("b"), "user.overlay.redirect", "/elsewhere"));
    let error = read(DirectoryLayer::upper(root)).unwrap_err().to_string();
    assert!(error.contains("redirect"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "1").unwrap();
    fs::set_permissions(
        folder.path().join("secret"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    if fs::read(folder.path().join("secret")).is_ok() {
        // Root reads everything.
        return;
    }
    let error = read(DirectoryLayer::new(folder.path())).unwrap_err();
    assert!(
        error.to_string().contains("secret: cannot be read"),
        "{error}"
    );
}

#[test]
fn absent_directories_are_named() {
    let error = read(DirectoryLayer::new("/absent/directory")).unwrap_err();
    assert!(error.to_string().contains("/absent/directory"), "{error}");
}
