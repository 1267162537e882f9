use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A small root with links in it.
fn root() -> (tempfile::TempDir, OwnedFd) {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    fs::create_dir_all(base.join("real/sub")).unwrap();
    fs::write(base.join("file"), "x").unwrap();
    symlink("/real", base.join("absolute")).unwrap();
    symlink("../../../real", base.join("up")).unwrap();
    symlink("/nowhere/else", base.join("dangling")).unwrap();
    symlink("loop", base.join("loop")).unwrap();
    let descriptor = fs::File::open(base).unwrap().into();
    (directory, descriptor)
}

#[track_caller]
fn check(path: &str, expected: Option<(&str, &[&str], bool)>) {
    let (_directory, root) = root();
    let expected = expected.map(|(existing, names, detour)| Missing {
        existing: existing.into(),
        names: names.iter().map(OsString::from).collect(),
        detour,
    });
    assert_eq!(find_missing(root.as_fd(), Path::new(path)), Ok(expected));
    assert_eq!(
        open_in_root(root.as_fd(), Path::new(path)).is_ok(),
        find_missing(root.as_fd(), Path::new(path)) == Ok(None)
    );
}

#[test]
fn paths_that_exist() {
    check("/", None);
    check("/real/sub", None);
    check("/absolute/sub", None);
    check("/up/sub", None);
    check("/file", None);
}

#[test]
fn paths_that_do_not() {
    check("/a/b", Some(("", &["a", "b"], false)));
    check("/real/x", Some(("real", &["x"], false)));
    check("/absolute/x/y", Some(("real", &["x", "y"], true)));
    check("/dangling/x", Some(("", &["nowhere", "else", "x"], true)));
    check("/file/x", Some(("", &["file", "x"], true)));
    check("/../../etc", Some(("", &["etc"], false)));
}

#[test]
fn loops_end() {
    let (_directory, root) = root();
    assert_eq!(
        find_missing(root.as_fd(), Path::new("/loop/x")),
        Err(Errno::LOOP)
    );
}

#[test]
fn missing_places_are_created_inside() {
    let (directory, root) = root();
    let path = Path::new("/dangling/x/f");
    let missing = find_missing(root.as_fd(), path).unwrap().unwrap();
    create(root.as_fd(), &missing, BindPointKind::File).unwrap();
    assert!(directory.path().join("nowhere/else/x/f").is_file());
    assert_eq!(find_missing(root.as_fd(), path), Ok(None));
}
