//! Images whose files lie in the order in which programs read them.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::place::{copied, error_lines};
use skiff_tests::web::{Content, Place, Server, Site};

use crate::outlast::{kill, server};

use super::{compare, numpy_sif, picture};

const IMPORT: [&str; 3] = ["python3", "-c", "import numpy; print(numpy.__version__)"];

/// Requests and bytes of a program's first run with the image at `sif` elsewhere.
fn fetched(sif: &Path) -> (usize, u64, String) {
    let place = Place::new("profile-run");
    let server = Server::start(Site::with("/a.sif", Content::file(sif).expect("there")));
    server.set_latency(Duration::from_millis(2));
    let outcome = place.exec(&server.url("/a.sif"), &IMPORT).run();
    let outcome = outcome.expect_success("import numpy");
    place.wait_for_the_end();
    let log = server.log();
    assert_eq!(log.repeated_bytes(), 0, "{}", log.repeated());
    (log.data_requests(), log.data_bytes(), outcome.stdout_text())
}

#[test]
fn what_is_read_at_first_comes_at_once() {
    require!("access profiles"; Skiff, Apptainer, Fuse, UserNamespaces, Mksquashfs);
    let place = Place::new("profile");
    copied(&numpy_sif(), &place, "numpy.sif");
    let in_folder = |args: &[&str]| {
        let mut cmd = place.skiff(args);
        cmd.cwd(&place.folder);
        cmd
    };
    // What a run reads is written down, by its own server even while another has the image.
    let mut other = place.exec("numpy.sif", &["sleep", "100"]);
    let mut other = other.cwd(&place.folder).start();
    let mut cmd = in_folder(&["exec", "numpy.sif"]);
    cmd.env("SKIFF_ACCESS_LOG", "profile").args(IMPORT);
    let said = cmd.run().expect_success("with a list").stdout_text();
    skiff_tests::command::kill_group(&other);
    other.wait().expect("it was started");
    let list = std::fs::read_to_string(place.folder.join("profile")).expect("a list");
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with('/')), "{list}");
    let at = |end: &str| {
        let place = lines.iter().position(|line| line.contains(end));
        place.unwrap_or_else(|| panic!("no {end}: {list}"))
    };
    assert!(at("/usr/bin/python3") < at("/encodings/__init__"), "{list}");
    assert!(at("/encodings/__init__") < at("/numpy/"), "{list}");
    let mut unique = lines.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), lines.len(), "{list}");

    // Whoever asks again has it all again, even at once.
    let mut cmd = in_folder(&["exec", "numpy.sif"]);
    cmd.env("SKIFF_ACCESS_LOG", "second").args(IMPORT);
    cmd.run().expect_success("with another list");
    let second = std::fs::read_to_string(place.folder.join("second")).expect("a list");
    assert!(second.lines().count() * 10 > lines.len() * 9, "{second}");

    // Of the image's own files: the same tree, the same bytes whenever it is built.
    for (sif, flags) in [
        ("plain.sif", &[][..]),
        ("fast.sif", &["--access-profile", "profile"]),
        ("again.sif", &["--access-profile", "profile"]),
    ] {
        let mut cmd = in_folder(&["build"]);
        cmd.env("SOURCE_DATE_EPOCH", "1700000000");
        cmd.args(flags).args([sif, "numpy.sif"]);
        cmd.run().expect_success(sif);
    }
    let at = |name: &str| place.folder.join(name);
    let bytes = |name: &str| std::fs::read(at(name)).expect("built");
    assert!(bytes("fast.sif") == bytes("again.sif"), "not reproducible");
    assert!(bytes("fast.sif") != bytes("plain.sif"), "no difference");
    let shown = |name: &str| picture(&place, at(name).to_str().expect("plain"));
    compare(&shown("plain.sif"), &shown("fast.sif"), "with a profile");
    let theirs = ordinary()
        .command(
            program::real_apptainer()
                .expect("required")
                .called("apptainer"),
        )
        .args(["exec", "fast.sif"])
        .args(IMPORT)
        .cwd(&place.folder)
        .run();
    assert_eq!(theirs.stdout_text(), said, "{theirs}");

    // From elsewhere it needs a fraction of the requests, and hardly more bytes.
    let (plain, fast) = (fetched(&at("plain.sif")), fetched(&at("fast.sif")));
    eprintln!("requests and bytes: {plain:?}, with the profile {fast:?}");
    assert_eq!((&plain.2, &fast.2), (&said, &said));
    assert!(fast.0 * 3 < plain.0, "{fast:?} of {plain:?} requests");
    assert!(fast.1 < plain.1 * 13 / 10, "{fast:?} of {plain:?} bytes");

    // What a profile of another image says of this one is no harm; one built anew has none.
    let mut cmd = in_folder(&["build", "-F", "again.sif", "fast.sif"]);
    cmd.run().expect_success("built anew");
    let objects = in_folder(&["sif", "list", "again.sif"]).run();
    assert_eq!(
        objects.stdout_text().matches("JSON").count(),
        1,
        "{objects}"
    );
}

#[test]
fn lists_that_are_none() {
    require!("access profiles that cannot be had"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("profile-wrong");
    copied(&numpy_sif(), &place, "numpy.sif");
    let run = |args: &[&str]| place.skiff(args).cwd(&place.folder).run();
    std::fs::write(place.folder.join("binary"), b"a\0b").expect("room");
    for (list, words) in [
        ("none", "No such file"),
        (".", "Is a directory"),
        ("binary", "no list of paths"),
    ] {
        let outcome = run(&["build", "--access-profile", list, "x.sif", "numpy.sif"]);
        assert_eq!(outcome.code(), Some(255), "{outcome}");
        let line = error_lines(&outcome, 1);
        assert!(
            line.contains(words) && line.contains("--access-profile"),
            "{line}"
        );
        assert!(!place.folder.join("x.sif").exists(), "{list}");
    }
    let logged = |log: &str, image: &str| {
        let mut cmd = place.skiff(&["exec", image, "true"]);
        cmd.env("SKIFF_ACCESS_LOG", log).cwd(&place.folder);
        cmd.run()
    };
    // Nobody reads from it.
    let mut mkfifo = ordinary().command("/usr/bin/mkfifo");
    mkfifo.arg(place.folder.join("pipe"));
    mkfifo.run().expect_success("mkfifo");
    for log in ["/nowhere/list", "pipe", "."] {
        let outcome = logged(log, "numpy.sif");
        assert_eq!(outcome.code(), Some(255), "{outcome}");
        let line = error_lines(&outcome, 1);
        assert!(line.contains("SKIFF_ACCESS_LOG: "), "{line}");
    }
    let sandbox = ["build", "--sandbox", "sandbox", "numpy.sif"];
    run(&sandbox).expect_success("a sandbox");
    let outcome = logged("list", "sandbox").expect_success("exec");
    assert!(outcome.stderr_text().contains("is not listed"), "{outcome}");
}

/// A list that can no longer be written is no reason to end a program.
#[test]
fn a_list_that_is_gone() {
    require!("an access log that is gone"; Skiff, Apptainer, Fuse, UserNamespaces, Resend);
    let place = Place::new("profile-gone");
    copied(&numpy_sif(), &place, "numpy.sif");
    std::fs::create_dir(place.folder.join("gone")).expect("room");
    ordinary().own(&place.folder.join("gone"));
    let mut cmd = place.skiff(&["exec", "numpy.sif", "sh", "-c"]);
    cmd.arg("read line; cat /usr/bin/python3 | wc -c");
    cmd.env("SKIFF_ACCESS_LOG", "gone/list").cwd(&place.folder);
    let mut child = cmd.stdin_open().start();
    let server = server(&place);
    std::fs::remove_dir_all(place.folder.join("gone")).expect("there");
    kill(&server);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"on\n").expect("it waits");
    drop(stdin);
    let output = child.wait_with_output().expect("it was started");
    let count = String::from_utf8_lossy(&output.stdout).trim().parse();
    assert!(count.is_ok_and(|count: u64| count > 100_000), "{output:?}");
    place.wait_for_the_end();
}
