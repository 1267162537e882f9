//! Two users of one node: a private cache is the owner's alone, a shared one is read by all and
//! written by one.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use skiff_tests::command::Cmd;
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::{User, ordinary, second};
use skiff_tests::web::{Content, Place, Server, Site};

use super::{FILES, read_all, serve, wanted};
use crate::remote::python_sif;

/// The other user's launch, with a cache and a runtime directory of its choice.
fn other(user: &User, place: &Place, cache: &Path, url: &str) -> Cmd {
    let mut cmd = user.command(program::skiff().expect("required").called("skiff"));
    cmd.cwd("/")
        .env("SKIFF_LINGER", "0")
        .env("SKIFF_RUNTIME_DIR", place.folder.join("other-run"))
        .env("SKIFF_CACHE_DIR", cache)
        .args(["exec", url, "sha256sum"])
        .args(FILES.iter().map(|path| format!("/{path}")));
    cmd
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("there").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("root may");
}

/// A folder that belongs to the other user.
fn folder_of(user: &User, place: &Place, name: &str, mode: u32) -> std::path::PathBuf {
    let folder = place.folder.join(name);
    std::fs::create_dir(&folder).expect("fresh");
    user.own(&folder);
    set_mode(&folder, mode);
    folder
}

#[test]
fn a_private_cache_is_private() {
    require!("two users"; Skiff, Apptainer, Fuse, UserNamespaces, Root, SecondUser);
    let second = second().expect("required");
    let (server, url) = serve();
    let place = Place::new("private");
    set_mode(&place.folder, 0o777);
    read_all(&place, &url)
        .run()
        .expect_success("the first user");
    place.wait_for_the_end();
    let cache = place.cache();
    assert_eq!(mode(&cache), 0o700);
    for file in place.cache_files() {
        assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
    }
    // The other user names it: it cannot be used, and the image runs all the same.
    let before: Vec<_> = place.cache_files();
    server.log().clear();
    let outcome = other(&second, &place, &cache, &url).run();
    let outcome = outcome.expect_success("the second user");
    assert_eq!(outcome.stdout_text(), wanted());
    assert!(server.log().data_bytes() > 0, "it read what is not its own");
    assert_eq!(place.cache_files(), before, "it wrote there");
    eprintln!("{}", outcome.stderr_text());
}

/// Somebody was there first with a folder of the name that the first user's cache would have.
#[test]
fn squatters_are_passed_over() {
    require!("squatted caches"; Skiff, Apptainer, Fuse, UserNamespaces, Root, SecondUser);
    let second = second().expect("required");
    let (_server, url) = serve();
    let place = Place::new("squat");
    let temporary = place.folder.join("tmp");
    std::fs::create_dir(&temporary).expect("fresh");
    set_mode(&temporary, 0o1777);
    let squatted = temporary.join(format!("skiff-cache-{}", ordinary().uid));
    std::fs::create_dir(&squatted).expect("fresh");
    second.own(&squatted);
    set_mode(&squatted, 0o777);
    // Where it goes instead, on machines without /local and /scratch.
    let elsewhere = Path::new("/var/tmp").join(format!("skiff-cache-{}", ordinary().uid));
    let was_there = elsewhere.exists();
    let mut cmd = read_all(&place, &url);
    cmd.env("SKIFF_CACHE_DIR", "").env("TMPDIR", &temporary);
    let outcome = cmd.run().expect_success("with a squatter");
    assert_eq!(outcome.stdout_text(), wanted());
    let entries = std::fs::read_dir(&squatted).expect("root may").count();
    assert_eq!(entries, 0, "the squatter's folder was used");
    place.wait_for_the_end();
    if !was_there {
        std::fs::remove_dir_all(elsewhere).ok();
    }
}

#[test]
fn a_shared_cache_is_read_by_all_and_written_by_one() {
    require!("a shared cache"; Skiff, Apptainer, Fuse, UserNamespaces, Root, SecondUser);
    let service = second().expect("required");
    let (server, url) = serve();
    let place = Place::new("shared");
    set_mode(&place.folder, 0o777);
    let shared = folder_of(&service, &place, "shared", 0o755);
    let filled = other(&service, &place, &shared, &url).run();
    assert_eq!(filled.expect_success("the service").stdout_text(), wanted());
    place.wait_for_the_end();
    let read = |what: &str| {
        let mut cmd = read_all(&place, &url);
        cmd.env("SKIFF_SHARED_CACHE", &shared)
            .env("SKIFF_LINGER", "0");
        let outcome = cmd.run().expect_success(what);
        assert_eq!(outcome.stdout_text(), wanted(), "{what}");
        place.wait_for_the_end();
    };
    let log = server.log();
    log.clear();
    read("from the shared cache");
    // He has to ask what the name stands for; the start of the image comes with the answer.
    assert!(log.data_requests() <= 1, "{log}");
    assert!(log.data_bytes() <= 64 << 10, "{log}");

    // Who else may write there may have written anything: such a folder is not read.
    set_mode(&shared, 0o777);
    log.clear();
    read("a folder that all may write");
    assert!(log.data_requests() > 0, "a writable folder was believed");
    set_mode(&shared, 0o755);

    // Damage is no poison.
    let data = shared.join("blobs");
    for entry in std::fs::read_dir(data).expect("root may").flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "data")
        {
            use std::os::unix::fs::FileExt;
            let file = std::fs::OpenOptions::new().write(true).open(&path);
            let file = file.expect("root may");
            let size = file.metadata().expect("open").len();
            for place in (0..size).step_by(8192) {
                file.write_all_at(b"poison", place).expect("room");
            }
        }
    }
    std::fs::remove_dir_all(place.cache()).ok();
    read("a damaged shared cache");
}

/// Variables that lead to a directory which another user owns do not make it ours: he could have put
/// anything there.
#[test]
fn a_directory_of_another_user_is_not_ours_whatever_a_variable_says() {
    require!("caches of others"; Skiff, Apptainer, Fuse, UserNamespaces, Root);
    let place = Place::new("planted");
    let server = Server::start(Site::with(
        "/a.sif",
        Content::file(&python_sif()).expect("there"),
    ));
    let planted = place.folder.join("skiff");
    std::fs::create_dir(&planted).expect("fresh");
    std::os::unix::fs::chown(&planted, Some(65_533), Some(65_533)).expect("as root");
    let mut cmd = place.exec(&server.url("/a.sif"), &["true"]);
    cmd.env("SKIFF_CACHE_DIR", planted.to_str().expect("plain"));
    let outcome = cmd.run().expect_success("without a cache");
    let text = outcome.stderr_text();
    assert!(text.contains("belongs to another user"), "{text}");
    assert_eq!(std::fs::read_dir(&planted).expect("there").count(), 0);
}
