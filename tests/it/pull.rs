//! `pull`: files of the user's made of images that are elsewhere.

use std::os::unix::fs::PermissionsExt as _;

use skiff_tests::command::Cmd;
use skiff_tests::oci::{OciImage, archive};
use skiff_tests::require;
use skiff_tests::web::fault::{Fault, When};
use skiff_tests::web::place::error_lines;
use skiff_tests::web::{Content, Place, Registry, Server, Site};

use crate::convert::layout;

fn in_folder(place: &Place, args: &[&str]) -> Cmd {
    let mut cmd = place.skiff(args);
    cmd.cwd(&place.folder);
    cmd
}

fn is_blob(entry: &skiff_tests::web::log::Entry) -> bool {
    entry.path.contains("/blobs/")
}

#[test]
fn names_targets_and_permissions() {
    require!("pull"; Skiff);
    let place = Place::new("pull");
    let folder = layout(&place);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(registry);
    let name = format!("docker://{}/lab/image:1", server.host());
    in_folder(&place, &["pull", &name])
        .run()
        .expect_success("pull");
    let file = place.folder.join("image_1.sif");
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    let again = in_folder(&place, &["pull", &name]).run();
    assert_eq!(again.code(), Some(255));
    assert!(
        error_lines(&again, 1)
            .ends_with("Image file already exists: \"image_1.sif\" - will not overwrite")
    );
    let before = server.log().count(is_blob);
    for args in [
        &["pull", "-F"][..],
        &["pull", "other.sif"],
        &["pull", "--name", "named.sif"],
        &["pull", "--dir", "."],
    ] {
        let mut cmd = in_folder(&place, args);
        if args.contains(&"--dir") {
            // All of those before are copies of the first.
            assert_eq!(server.log().count(is_blob), before);
            std::fs::remove_file(&file).expect("there");
        }
        cmd.arg(&name).run().expect_success(&format!("{args:?}"));
    }
    for file in ["image_1.sif", "other.sif", "named.sif"] {
        let bytes = std::fs::read(place.folder.join(file)).expect("made");
        assert!(bytes.len() > 32768, "{file}");
    }
    let nowhere = in_folder(&place, &["pull", "none/x.sif", &name]).run();
    assert_eq!(nowhere.code(), Some(255), "{nowhere}");
    for (name, reason) in [
        ("foo://x", "Unsupported transport type: foo"),
        ("x", "No transport type URI supplied"),
    ] {
        let outcome = in_folder(&place, &["pull", name]).run();
        assert!(error_lines(&outcome, 1).ends_with(reason), "{outcome}");
    }
}

#[test]
fn several_at_a_time_fetch_once() {
    require!("pulls at the same time"; Skiff);
    let place = Place::new("pull-together");
    let folder = layout(&place);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(registry);
    let name = format!("docker://{}/lab/image:1", server.host());
    let running: Vec<_> = (0..4)
        .map(|number| {
            let file = format!("{number}.sif");
            in_folder(&place, &["pull", &file, &name]).start()
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().expect("waited for");
        assert!(output.status.success(), "{output:?}");
    }
    let layers = 3;
    // Configuration and layers.
    assert_eq!(server.log().count(is_blob), layers + 1);
    let first = std::fs::read(place.folder.join("0.sif")).expect("made");
    for number in 1..4 {
        let other = std::fs::read(place.folder.join(format!("{number}.sif"))).expect("made");
        assert!(first == other, "{number}");
    }
}

#[test]
fn what_breaks_off_goes_on() {
    require!("pull over a bad network"; Skiff);
    let place = Place::new("pull-faults");
    let folder = layout(&place);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let size = 40 << 20;
    let bytes: Vec<u8> = (0..size)
        .map(|at: u32| (at >> 7) as u8 ^ at as u8)
        .collect();
    registry.push("lab/sif", "1", &Content::memory(bytes.clone()));
    let server = Server::start(registry);
    let is_data = |request: &skiff_tests::web::request::Request| request.path.contains("/blobs/");
    let faults = server.faults();
    faults.add_on(Fault::Reset { after: 100_000 }, When::OneOf(3), is_data);
    faults.add_on(Fault::Status(503), When::OneOf(5), is_data);
    faults.add_on(Fault::Truncate { after: 7 << 20 }, When::OneOf(2), is_data);
    in_folder(&place, &["pull", "a.sif"])
        .arg(format!("docker://{}/lab/image:1", server.host()))
        .run()
        .expect_success("pull of an OCI image");
    in_folder(&place, &["pull", "b.sif"])
        .arg(format!("oras://{}/lab/sif:1", server.host()))
        .run()
        .expect_success("pull of a SIF");
    let seen = std::fs::read(place.folder.join("b.sif")).expect("made");
    assert!(seen == bytes);
}

#[test]
fn files_of_web_servers_and_wrong_digests() {
    require!("pull of files"; Skiff);
    let place = Place::new("pull-files");
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|at| (at >> 9) as u8).collect();
    let server = Server::start(Site::with("/dir/a.sif", Content::memory(bytes.clone())));
    in_folder(&place, &["pull", &server.url("/dir/a.sif")])
        .run()
        .expect_success("pull");
    let seen = std::fs::read(place.folder.join("a.sif")).expect("made");
    assert!(seen == bytes);
    let registry = Registry::new();
    registry.push("lab/sif", "1", &Content::memory(bytes.clone()));
    let server = Server::start(registry);
    let faults = server.faults();
    let is_data = |request: &skiff_tests::web::request::Request| request.path.contains("/blobs/");
    faults.add_on(Fault::WrongPlace, When::Always, is_data);
    let outcome = in_folder(&place, &["pull", "b.sif"])
        .arg(format!("oras://{}/lab/sif:1", server.host()))
        .run();
    assert_eq!(outcome.code(), Some(255), "{outcome}");
    assert!(!place.folder.join("b.sif").exists());
}

#[test]
fn a_name_as_a_file() {
    require!("pull --lazy"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("pull-lazy");
    let folder = layout(&place);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(std::sync::Arc::clone(&registry) as _);
    let name = format!("docker://{}/lab/image:1", server.host());
    in_folder(&place, &["pull", "--lazy", "a.sif", &name])
        .run()
        .expect_success("pull --lazy");
    assert_eq!(server.log().count(is_blob), 0);
    let size = std::fs::metadata(place.folder.join("a.sif"))
        .expect("made")
        .len();
    assert!(size < 64 << 10, "{size}");
    // What the tag stands for later makes no difference.
    registry.push("lab/image", "1", &Content::memory("no image"));
    for _ in 0..2 {
        let seen = in_folder(&place, &["exec", "a.sif", "cat", "/data/replaced"]).run();
        assert_eq!(seen.stdout_text(), "new\n", "{seen}");
    }
    let labels = in_folder(&place, &["inspect", "a.sif"]).run().stdout_text();
    assert!(labels.contains("maker: tests\n"), "{labels}");
    let outcome = in_folder(&place, &["pull", "--lazy", "b.sif", "oci:layout"]).run();
    assert_eq!(outcome.code(), Some(255), "{outcome}");
    error_lines(&outcome, 1);
    place.wait_for_the_end();
}

#[test]
fn how_far_it_is_is_told_to_programs() {
    require!("events of pull"; Skiff);
    let place = Place::new("pull-events");
    let folder = layout(&place);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(registry);
    let name = format!("docker://{}/lab/image:1", server.host());
    let outcome = in_folder(&place, &["pull", "--json", "x.sif", &name])
        .run()
        .expect_success("pull --json");
    let events: Vec<serde_json::Value> = outcome
        .stdout_text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    let of = |kind: &str| -> Vec<&serde_json::Value> {
        let kind = serde_json::json!(kind);
        events
            .iter()
            .filter(|event| event["event"] == kind)
            .collect()
    };
    let layers = of("layer");
    assert_eq!(layers.len(), 3, "{events:?}");
    for layer in layers {
        let last = of("fetched")
            .into_iter()
            .rfind(|event| event["number"] == layer["number"]);
        assert_eq!(last.expect("fetched")["bytes"], layer["size"], "{events:?}");
    }
    assert!(!of("written").is_empty());
    let file = &of("complete")[0]["file"];
    assert_eq!(*events.last().expect("some"), *of("complete")[0]);
    assert_eq!(*file, "x.sif");
    // Of any command, beside its other lines.
    let outcome = in_folder(&place, &["build", "y.sif", &name])
        .env("SKIFF_PROGRESS", "json")
        .run()
        .expect_success("build");
    assert!(outcome.stdout_text().is_empty());
    let said = outcome.stderr_text();
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    assert!(lines.len() > 4, "{said}");
    assert!(said.contains("INFO:    Build complete: y.sif"));
}

#[test]
fn a_registry_cannot_speak_for_another_ones_image() {
    require!("lies about digests"; Skiff, Fuse, UserNamespaces);
    let place = Place::new("pull-lies");
    let good = layout(&place);
    let (root, tar) = (place.folder.join("evil"), place.folder.join("evil.tar"));
    std::fs::create_dir(&root).expect("fresh");
    std::fs::write(root.join("who"), "evil").expect("room");
    archive(&root, &tar);
    let evil = place.folder.join("evil-layout");
    OciImage::of(&tar).layout(&evil);
    let index = std::fs::read(good.join("index.json")).expect("made");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("text");
    let registry = Registry::new();
    registry.add_layout("lab/good", "1", &good);
    registry.add_layout("lab/evil", "1", &evil);
    registry.lie("lab/evil", "1", digest);
    let server = Server::start(registry);
    let name = format!("docker://{}/lab/evil:1", server.host());
    for args in [
        &["pull", "evil.sif", &name][..],
        &["exec", &name, "true"],
        &["inspect", &name],
    ] {
        let outcome = in_folder(&place, args).run();
        assert_eq!(outcome.code(), Some(255), "{outcome}");
    }
    let name = format!("docker://{}/lab/good@{digest}", server.host());
    in_folder(&place, &["pull", "good.sif", &name])
        .run()
        .expect_success("pull");
    for image in ["good.sif", &name] {
        let outcome = in_folder(&place, &["exec", image, "cat", "/data/kept"]).run();
        assert_eq!(outcome.stdout_text(), "kept\n", "{outcome}");
    }
}

#[test]
fn what_is_pulled_is_what_the_name_stands_for_now() {
    require!("tags that move"; Skiff);
    let place = Place::new("pull-moved");
    let folder = layout(&place);
    let (root, tar) = (place.folder.join("new"), place.folder.join("new.tar"));
    std::fs::create_dir(&root).expect("fresh");
    archive(&root, &tar);
    let newer = place.folder.join("newer");
    OciImage::of(&tar).layout(&newer);
    let registry = Registry::new();
    registry.add_layout("lab/image", "1", &folder);
    let server = Server::start(registry.clone());
    let name = format!("docker://{}/lab/image:1", server.host());
    let pull = || {
        in_folder(&place, &["pull", "-F", "x.sif", &name])
            .run()
            .expect_success("pull");
        std::fs::metadata(place.folder.join("x.sif"))
            .expect("made")
            .len()
    };
    let old = pull();
    registry.add_layout("lab/image", "1", &newer);
    assert!(pull() < old);
}
