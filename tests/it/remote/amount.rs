//! How much is fetched, in how many requests.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use skiff_tests::command::Cmd;
use skiff_tests::image::keep;
use skiff_tests::program;
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::userland::lay_out;
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

/// The most that may be fetched for every byte that is read.
const EXCESS: f64 = 1.3;

/// Runs a program from a fresh cache, and compares what came with what the server read of it; then
/// again, with everything there. Returns the figures.
fn check(image: &Path, program: &[&str]) -> String {
    let place = Place::new("amount");
    let server = Server::start(Site::with("/a.sif", Content::file(image).expect("there")));
    let url = server.url("/a.sif");
    let mut cmd = place.exec(&url, program);
    cmd.env("SKIFF_LINGER", "5");
    cmd.run().expect_success("from a fresh cache");
    let stats = place.skiff(&["stats", "--json", &url]).run();
    let stats = stats.expect_success("skiff stats");
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("JSON");
    let read = stats["server"]["bytes_read"].as_u64();
    let read = read.unwrap_or_else(|| panic!("no server: {stats}"));
    let log = server.log();
    let (fetched, requests) = (log.data_bytes(), log.data_requests());
    let excess = fetched as f64 / read as f64;
    let figures = format!(
        "{program:?}: {requests} requests for {fetched} bytes, of {}; {read} read: {excess:.2}",
        image.metadata().expect("there").len()
    );
    assert!(excess <= EXCESS, "{program:?}: {fetched} of {read}\n{log}");
    assert_eq!(log.repeated_bytes(), 0, "{}", log.repeated());
    place.wait_for_the_end();
    log.clear();
    place.exec(&url, program).run().expect_success("again");
    assert_eq!(log.data_requests(), 0, "{log}");
    figures
}

#[test]
fn no_more_is_fetched_than_is_read() {
    require!("bytes fetched"; Skiff, Apptainer, Fuse, UserNamespaces);
    eprintln!("{}", check(&python_sif(), &["true"]));
    eprintln!("{}", check(&numpy_sif(), &["true"]));
    let import = ["python3", "-c", "import numpy"];
    eprintln!("{}", check(&numpy_sif(), &import));
}

/// A file that does not compress, `SKIFF_TEST_SEQUENTIAL_MB` long: 1000 in earnest.
#[test]
fn a_large_file_is_fetched_once() {
    require!("a sequential read"; Skiff, Apptainer, Fuse, UserNamespaces);
    let megabytes: usize = std::env::var("SKIFF_TEST_SEQUENTIAL_MB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(48);
    let apptainer = program::real_apptainer().expect("required");
    let folder = keep(&format!("sequential-{megabytes}"), |folder| {
        let source = folder.join("source");
        lay_out(&source);
        let mut random = Random::new(9);
        let mut file = std::fs::File::create(source.join("big")).expect("room");
        for _ in 0..megabytes {
            file.write_all(&random.bytes(1_000_000)).expect("room");
        }
        let user = ordinary();
        Cmd::new("/bin/chown")
            .args(["-R", "-h"])
            .arg(format!("{}:{}", user.uid, user.gid))
            .arg(folder)
            .run();
        user.command(apptainer.called("apptainer"))
            .cwd(folder)
            .args(["build", "big.sif", "source"])
            .limit(Duration::from_secs(600))
            .run()
            .expect_success("apptainer build");
        std::fs::remove_dir_all(&source).expect("just made");
    });
    eprintln!("{}", check(&folder.join("big.sif"), &["cat", "/big"]));
}

/// Reads the small files of a directory one by one, with moments between in which the others can be
/// put into the kernel's cache.
const FILE_BY_FILE: &str = "\
import os, encodings, sys, time
folder = os.path.dirname(encodings.__file__)
names = [entry.path for entry in os.scandir(folder) if entry.stat().st_size and entry.is_file()]
for name in names:
    time.sleep(0.02)
    file = os.open(name, os.O_RDONLY)
    os.read(file, 100000)
    os.close(file)
print(len(names))
";

/// What is in the node's cache is served as from a local file: small files come before they are asked
/// for.
#[test]
fn small_files_of_a_warm_image_are_pushed() {
    require!("small files of a warm image"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("pushed");
    let content = Content::file(&python_sif()).expect("there");
    let server = Server::start(Site::with("/a.sif", content));
    let url = server.url("/a.sif");
    let mut cmd = place.skiff(&["warm", "--full", &url]);
    cmd.run().expect_success("warm");
    server.log().clear();
    let requests = |program: &str| {
        let mut cmd = place.exec(&url, &["python3", "-c", program]);
        cmd.env("SKIFF_LINGER", "5");
        let outcome = cmd.run().expect_success("the program");
        let stats = place.skiff(&["stats", "--json", &url]).run();
        let stats = stats.expect_success("skiff stats");
        let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("JSON");
        place.wait_for_the_end();
        let files = outcome.stdout_text().trim().parse::<u64>().unwrap_or(0);
        (
            stats["server"]["requests"].as_u64().expect("a number"),
            files,
        )
    };
    let (before, _) = requests("import os, encodings, time");
    // Pushes run beside the reader, which on a busy machine may be ahead of them.
    let few = (0..3).any(|_| {
        let (after, files) = requests(FILE_BY_FILE);
        eprintln!("{before} requests, and {after} with {files} files read");
        assert!(files > 50, "{files} files");
        after < before + files / 2
    });
    assert!(few, "each file was asked for");
    assert_eq!(server.log().data_requests(), 0, "{}", server.log());
}
