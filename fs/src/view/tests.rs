//! Views over a tree that lives in memory.

use super::*;
use crate::tree::sample::{Content, Sample};

/// Builds the view of `points` ("path/" for directories, "?" before one that must lead through real
/// directories) and lists what it adds, as "parent-in-image-or-extra/name".
fn check(tree: &[&'static str], points: &[&str], expected: &[&str]) {
    let tree = Sample::new(tree);
    let points: Vec<Point> = points
        .iter()
        .map(|text| Point {
            path: text.trim_start_matches('?').trim_end_matches('/').into(),
            directory: text.ends_with('/'),
            only_through_directories: text.starts_with('?'),
        })
        .collect();
    let view = View::build(&tree, &points).unwrap();
    let mut found = Vec::new();
    walk(&view, &tree, Place::Image(tree.root()), "", &mut found);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(view.extra_count(), expected.len());
}

fn walk(view: &View, tree: &Sample, dir: Place, path: &str, found: &mut Vec<String>) {
    let extras = match dir {
        Place::Image(node) => view.names_in(node),
        Place::Extra(index) => &view.extra(index).unwrap().children,
    };
    for (name, index) in extras {
        let path = format!("{path}/{}", String::from_utf8_lossy(name));
        if view.extra(*index).unwrap().directory {
            found.push(format!("{path}/"));
            walk(view, tree, Place::Extra(*index), &path, found);
        } else {
            found.push(path);
        }
    }
    if let Place::Image(node) = dir
        && let Content::Directory(names) = tree.node(node)
    {
        for (name, number) in names {
            let child = Place::Image(NodeRef::new(*number).unwrap());
            if matches!(tree.0[*number as usize], Content::Directory(_)) {
                let path = format!("{path}/{}", String::from_utf8_lossy(name));
                walk(view, tree, child, &path, found);
            }
        }
    }
}

#[test]
fn what_exists_is_not_added() {
    check(&["etc/", "etc/hosts"], &["/etc/hosts", "/etc/"], &[]);
}

#[test]
fn missing_parents_are_added_once() {
    check(
        &["etc/"],
        &["/home/u/", "/home/u/data/", "/etc/hosts"],
        &["/etc/hosts", "/home/", "/home/u/", "/home/u/data/"],
    );
}

#[test]
fn links_are_followed_inside_the_image() {
    check(
        &[
            "run/",
            "etc/",
            "etc/resolv.conf -> ../../run/dns/resolv.conf",
            "var -> /run",
        ],
        &["/etc/resolv.conf", "/var/tmp/"],
        &["/run/dns/", "/run/dns/resolv.conf", "/run/tmp/"],
    );
}

#[test]
fn loops_and_files_in_the_way_add_nothing() {
    check(
        &["a -> b", "b -> a", "file"],
        &["/a/x/", "/file/x/", "/a"],
        &[],
    );
}

#[test]
fn the_working_directory_never_goes_through_links() {
    check(
        &["real/", "link -> real"],
        &["?/link/work/", "?/real/work/", "?/new/work/"],
        &["/new/", "/new/work/", "/real/work/"],
    );
}

#[test]
fn a_file_point_is_no_directory_for_the_next() {
    check(&[], &["/f", "/f/below/"], &["/f"]);
}
