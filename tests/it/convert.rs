//! OCI images become SIFs: from wherever they are, the same tree as Apptainer makes of them.

mod daemon;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;
use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::oci::{self, OciImage, Packing};
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::userland::lay_out;
use skiff_tests::web::place::error_lines;
use skiff_tests::web::{Place, Registry, Server};

/// A layout of three layers, in which later ones change what earlier ones have.
pub(crate) fn layout(place: &Place) -> PathBuf {
    layout_with(place, Packing::Zstd)
}

fn layout_with(place: &Place, packing: Packing) -> PathBuf {
    let folder = place.folder.join("layout");
    let mut layers = Vec::new();
    let mut add = |number: usize, fill: &dyn Fn(&Path), packing| {
        let root = place.folder.join(format!("root{number}"));
        std::fs::create_dir(&root).expect("fresh");
        fill(&root);
        let tar = place.folder.join(format!("{number}.tar"));
        oci::archive(&root, &tar);
        layers.push((tar, packing));
    };
    let write = |path: PathBuf, text: &str, mode: u32| {
        std::fs::write(&path, text).expect("room");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("just made");
    };
    let lowest = |root: &Path| {
        lay_out(root);
        std::fs::create_dir_all(root.join("data/inner")).expect("room");
        std::fs::create_dir_all(root.join("gone")).expect("room");
        write(root.join("data/kept"), "kept\n", 0o644);
        write(root.join("data/replaced"), "old\n", 0o644);
        write(root.join("data/removed"), "removed\n", 0o644);
        write(root.join("data/inner/hidden"), "hidden\n", 0o644);
        write(root.join("gone/file"), "gone\n", 0o644);
        write(root.join("data/setuid"), "x\n", 0o4755);
        // Empty, since Apptainer's mksquashfs cannot read it.
        write(root.join("data/closed"), "", 0o000);
        std::fs::hard_link(root.join("data/kept"), root.join("data/other")).expect("room");
        symlink("kept", root.join("data/link")).expect("room");
    };
    add(0, &lowest, Packing::Gzip);
    let middle = |root: &Path| {
        std::fs::create_dir_all(root.join("data/inner")).expect("room");
        write(root.join("data/replaced"), "new\n", 0o600);
        write(root.join("data/.wh.removed"), "", 0o644);
        write(root.join("data/inner/.wh..wh..opq"), "", 0o644);
        write(root.join("data/inner/seen"), "seen\n", 0o644);
        write(root.join(".wh.gone"), "", 0o644);
    };
    add(1, &middle, packing);
    let top = |root: &Path| {
        // A directory in the place of a link.
        std::fs::create_dir_all(root.join("lib")).expect("room");
        write(root.join("lib/added"), "added\n", 0o644);
        std::fs::create_dir_all(root.join("gone")).expect("room");
        write(root.join("gone/again"), "again\n", 0o644);
    };
    add(2, &top, Packing::Plain);
    let image = OciImage {
        layers,
        config: json!({
            "Env": ["PATH=/usr/bin:/bin", "GREETING=hello \"you\" $HOME"],
            "Entrypoint": ["printf", "%s|"], "Cmd": ["a b", "$HOME"],
            "Labels": {"maker": "tests"}, "WorkingDir": "/srv",
        }),
    };
    image.layout(&folder);
    let readable = ["-R", "a+rX"];
    let mut cmd = Cmd::new("/bin/chmod");
    cmd.args(readable)
        .arg(&folder)
        .run()
        .expect_success("chmod");
    folder
}

/// Kind, permissions, owner, size (of files) and time of everything in the root of a SIF.
fn tree(place: &Place, sif: &Path) -> BTreeMap<String, String> {
    let image = place.folder.join("root.sqsh");
    let list = place.skiff(&["sif", "list"]).arg(sif).run();
    let line = list
        .stdout_text()
        .lines()
        .find(|line| line.contains("*System"))
        .map_or_else(|| panic!("{list}"), str::to_owned);
    let id = line.split('|').next().expect("a column").trim().to_owned();
    let dump = place.skiff(&["sif", "dump", &id]).arg(sif).run();
    std::fs::write(&image, &dump.stdout).expect("room");
    let mut cmd = Cmd::new("unsquashfs");
    cmd.env("PATH", "/usr/bin:/bin").env("TZ", "UTC");
    let listing = cmd
        .args(["-lls", "-d", ""])
        .arg(&image)
        .run()
        .expect_success("unsquashfs -lls");
    let mut found = BTreeMap::new();
    for line in listing.stdout_text().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, size, date, time, path, rest @ ..] = words.as_slice() else {
            continue;
        };
        let size = if mode.starts_with('d') { "" } else { size };
        let path = format!("/{}", path.trim_start_matches('/'));
        let text = format!("{mode} {owner} {size} {date} {time} {}", rest.join(" "));
        found.insert(path, text);
    }
    found
}

/// Apptainer as the ordinary user.
fn apptainer(place: &Place) -> Cmd {
    let apptainer = program::real_apptainer().expect("required");
    let mut cmd = ordinary().command(apptainer.called("apptainer"));
    cmd.env("APPTAINER_CACHEDIR", place.folder.join("apptainer"))
        .env("APPTAINER_CONFIGDIR", place.folder.join("apptainer-config"))
        .cwd(&place.folder);
    cmd
}

fn in_folder(place: &Place, args: &[&str]) -> Cmd {
    let mut cmd = place.skiff(args);
    cmd.cwd(&place.folder);
    cmd
}

fn run(place: &Place, sif: &str, by: Option<&str>) -> Outcome {
    let mut cmd = match by {
        Some(_) => apptainer(place),
        None => in_folder(place, &[]),
    };
    cmd.env("HOME", "/tmp").args(["run", sif]).run()
}

#[test]
fn the_same_tree_as_apptainer_makes() {
    require!("conversion as Apptainer's"; Skiff, Apptainer, Fuse, UserNamespaces, Mksquashfs);
    let place = Place::new("convert");
    layout(&place);
    apptainer(&place)
        .args(["build", "theirs.sif", "oci:layout"])
        .run()
        .expect_success("apptainer build");
    in_folder(&place, &["build", "ours.sif", "oci:layout"])
        .run()
        .expect_success("skiff build");
    let ours = tree(&place, &place.folder.join("ours.sif"));
    let theirs = tree(&place, &place.folder.join("theirs.sif"));
    // What a build writes has its own times and texts; directories that it makes have its time.
    let written = |path: &str| {
        path.starts_with("/.singularity.d")
            || path == "/"
            || path == "/home"
            || path == "/root"
            || path == "/environment"
            || path == "/singularity"
            || path == "/etc"
            || path.starts_with("/etc/hosts")
            || path.starts_with("/etc/resolv.conf")
            || matches!(path, "/.exec" | "/.run" | "/.shell" | "/.test")
    };
    let names = |tree: &BTreeMap<String, String>| -> Vec<String> { tree.keys().cloned().collect() };
    assert_eq!(names(&ours), names(&theirs));
    for (path, text) in ours.iter().filter(|(path, _)| !written(path)) {
        assert_eq!(text, &theirs[path], "{path}");
    }
    for (path, present) in [
        ("/data/removed", false),
        ("/data/inner/hidden", false),
        ("/gone/file", false),
        ("/gone/again", true),
        ("/lib/added", true),
        ("/data/inner/seen", true),
    ] {
        assert_eq!(ours.contains_key(path), present, "{path}");
    }
    // Each runs the other's, with the same result.
    let wanted = run(&place, "theirs.sif", Some("theirs"));
    for (sif, by) in [
        ("ours.sif", None),
        ("ours.sif", Some("theirs")),
        ("theirs.sif", None),
    ] {
        let seen = run(&place, sif, by);
        assert_eq!(seen.stdout_text(), wanted.stdout_text(), "{sif} {by:?}");
    }
    let labels = in_folder(&place, &["inspect", "ours.sif"])
        .run()
        .stdout_text();
    assert!(labels.contains("maker: tests\n"), "{labels}");
    assert!(labels.contains("deffile.bootstrap: oci\n"), "{labels}");
    let said = in_folder(&place, &["exec", "ours.sif", "printenv", "GREETING"]).run();
    assert_eq!(said.stdout_text(), "hello \"you\" $HOME\n");
}

#[test]
fn the_same_image_from_everywhere() {
    require!("conversion from all places"; Skiff, Fuse, UserNamespaces, Mksquashfs, Skopeo);
    let place = Place::new("convert-places");
    // What docker saves knows gzip only.
    let folder = layout_with(&place, Packing::Gzip);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(registry);
    let mut cmd = Cmd::new("tar");
    cmd.env("PATH", "/usr/bin:/bin").arg("-C").arg(&folder);
    cmd.arg("-cf").arg(place.folder.join("layout.tar"));
    cmd.args(["blobs", "index.json", "oci-layout"])
        .run()
        .expect_success("tar");
    oci::docker_archive(&folder, &place.folder.join("saved.tar"));
    let mut wanted = None;
    for (number, name) in [
        "oci:layout".to_owned(),
        "oci-archive:layout.tar".to_owned(),
        "docker-archive:saved.tar".to_owned(),
        format!("docker://{}/lab/image:1", server.host()),
    ]
    .iter()
    .enumerate()
    {
        let sif = format!("{number}.sif");
        let mut cmd = in_folder(&place, &["build", &sif, name]);
        cmd.env("SOURCE_DATE_EPOCH", "1700000000");
        cmd.run().expect_success(name);
        let mut seen = tree(&place, &place.folder.join(&sif));
        // These carry the name.
        seen.retain(|path, _| !path.ends_with("/Singularity") && !path.ends_with("labels.json"));
        assert_eq!(&seen, wanted.get_or_insert_with(|| seen.clone()), "{name}");
    }
}

#[test]
fn programs_are_started_in_images_that_are_converted_once() {
    require!("exec of OCI images"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("convert-run");
    let folder = layout(&place);
    let registry = Registry::new();
    let digest = registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(registry);
    let name = format!("docker://{}/lab/image:1", server.host());
    let read = ["cat", "/data/replaced"];
    let first = place
        .exec(&name, &read)
        .run()
        .expect_success("the first time");
    assert_eq!(first.stdout_text(), "new\n");
    assert!(first.stderr_text().contains("Converting OCI blobs"));
    let blobs = |entry: &skiff_tests::web::log::Entry| entry.path.contains("/blobs/");
    let before = server.log().count(blobs);
    assert!(before >= 4, "{before}");
    let mut again = place.exec(&name, &read);
    again.env("SKIFF_TAG_TTL", "0");
    let again = again.run();
    assert_eq!(again.stdout_text(), "new\n");
    assert!(again.stderr_text().contains("Using cached SIF image"));
    assert_eq!(server.log().count(blobs), before);
    let requests = server.log().len();
    let pinned = format!("docker://{}/lab/image@{digest}", server.host());
    for args in [["--offline", &name], ["--disable-cache=false", &pinned]] {
        let mut cmd = place.skiff(&["exec"]);
        cmd.args(args).args(read);
        assert_eq!(cmd.run().stdout_text(), "new\n", "{args:?}");
    }
    assert_eq!(server.log().len(), requests, "asked for what is known");
    let list = place.skiff(&["cache", "list", "-v"]).run().stdout_text();
    assert!(
        list.contains("oci-tmp") && list.contains("lab/image:1"),
        "{list}"
    );
    place
        .skiff(&["cache", "clean", "-f", "-T", "oci"])
        .run()
        .expect_success("cache clean");
    let kept = place.cache_files();
    assert!(!kept.iter().any(|path| path.ends_with(".sif")), "{kept:?}");
    // Without a cache nothing is left.
    let mut cmd = place.skiff(&["exec", "--disable-cache", &name]);
    let seen = cmd.env("TMPDIR", &place.folder).args(read).run();
    assert_eq!(seen.stdout_text(), "new\n", "{seen}");
    let is_sif = |path: &PathBuf| path.extension().is_some_and(|end| end == "sif");
    assert!(!place.cache_files().iter().any(is_sif));
    place.wait_for_the_end();
}

#[test]
fn what_cannot_be_converted_leaves_nothing() {
    require!("conversion of broken images"; Skiff);
    let place = Place::new("convert-broken");
    let folder = layout(&place);
    let largest = std::fs::read_dir(folder.join("blobs/sha256"))
        .expect("blobs")
        .flatten()
        .max_by_key(|entry| entry.metadata().map_or(0, |data| data.len()))
        .expect("some");
    let mut bytes = std::fs::read(largest.path()).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest.path(), bytes).expect("room");
    std::fs::write(place.folder.join("old.sif"), "old").expect("room");
    ordinary().own(&place.folder.join("old.sif"));
    let before = names_in(&place.folder);
    for args in [
        &["build", "new.sif", "oci:layout"][..],
        &["build", "-F", "old.sif", "oci:layout"],
        &["build", "new.sif", "oci:nowhere"],
        &["build", "new.sif", "docker-archive:nowhere"],
        &[
            "build",
            "--docker-host",
            "unix:///nowhere",
            "new.sif",
            "docker-daemon:x:y",
        ],
        &["build", "new.sif", "library://x/y/z"],
        &["build", "new.sif", "nowhere"],
        &["pull", "new.sif", "oci:layout"],
        &["build", "old.sif", "oci:layout"],
    ] {
        let outcome = in_folder(&place, args).run();
        assert_eq!(outcome.code(), Some(255), "{args:?}: {outcome}");
        error_lines(&outcome, 1);
        let mut after = names_in(&place.folder);
        after.retain(|name| name != "cache" && name != "config");
        assert_eq!(after, before, "{args:?}");
    }
    let old = std::fs::read(place.folder.join("old.sif")).expect("there");
    assert_eq!(old, b"old");
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
