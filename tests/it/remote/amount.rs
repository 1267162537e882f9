//! How much is fetched, in how many requests.

use std::time::Duration;

use skiff_tests::command::Cmd;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::{Content, Place, Server, Site};

use super::{numpy_sif, python_sif};

#[test]
fn few_requests_before_the_program() {
    require!("requests of a start"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("start");
    let sif = python_sif();
    let server = Server::start(Site::with("/a.sif", Content::file(&sif).expect("there")));
    let url = server.url("/a.sif");
    // A program that is not in the image and needs nothing of it: what was asked for by its end was
    // asked for before its first byte.
    let program = place.folder.join("static");
    Cmd::new("/usr/bin/cc")
        .env("PATH", "/usr/bin:/bin")
        .args(["-static", "-x", "c", "-", "-o"])
        .arg(&program)
        .stdin("int main(void) { return 0; }")
        .run()
        .expect_success("cc -static");
    ordinary().own(&program);
    let mut cmd = place.skiff(&["exec", "-B"]);
    cmd.arg(format!("{}:/mnt", place.folder.display()));
    cmd.args([&url, "/mnt/static"]).run().expect_success("it");
    let log = server.log();
    eprintln!(
        "start: {} requests, {} bytes\n{log}",
        log.len(),
        log.data_bytes()
    );
    assert!(log.len() <= 5, "{log}");
}

#[test]
fn thirty_two_at_once_fetch_everything_once() {
    require!("32 processes"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("crowd");
    let server = Server::start(Site::with(
        "/a.sif",
        Content::file(&python_sif()).expect("there"),
    ));
    server.set_latency(Duration::from_millis(2));
    let url = server.url("/a.sif");
    let children: Vec<_> = (0..32)
        .map(|number| {
            // As on a node where every process is in a job step of its own: no shared server.
            let mut cmd = place.exec(&url, &["python3", "-c", "import json, decimal; print(42)"]);
            if number % 2 == 0 {
                cmd.env(
                    "SKIFF_RUNTIME_DIR",
                    place.folder.join(format!("run-{number}")),
                );
            }
            cmd.start()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("it was started");
        assert!(
            output.status.success() && output.stdout == b"42\n",
            "{output:?}"
        );
    }
    let log = server.log();
    assert_eq!(log.repeated_bytes(), 0, "{}", log.repeated());
    eprintln!("32: {} requests, {} bytes", log.len(), log.data_bytes());
}

#[test]
fn no_more_is_fetched_than_is_read() {
    require!("bytes fetched"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("amount");
    let server = Server::start(Site::with(
        "/a.sif",
        Content::file(&numpy_sif()).expect("there"),
    ));
    let url = server.url("/a.sif");
    for program in [&["true"][..], &["python3", "-c", "import numpy"]] {
        server.log().clear();
        place.exec(&url, program).run().expect_success("a start");
        let log = server.log();
        eprintln!(
            "{program:?}: {} requests, {} bytes",
            log.data_requests(),
            log.data_bytes()
        );
        place.wait_for_the_end();
        log.clear();
        place.exec(&url, program).run().expect_success("again");
        assert_eq!(log.data_requests(), 0, "{log}");
        place.wait_for_the_end();
    }
}
