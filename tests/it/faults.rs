//! Servers that fail: a program gets the right bytes or an input/output error and a line that says
//! why, in bounded time; never wrong bytes.
//!
//! Times that users wait in earnest are scaled down, unless `SKIFF_TEST_REAL_TIMES=1`.

mod names;
mod places;
mod transfers;
mod waiting;

use std::io::Write;
use std::process::Child;
use std::time::{Duration, Instant};

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::web::place::error_lines;
use skiff_tests::web::{Content, Place, Server, Site};

use crate::remote::python_sif;

/// Read before anything goes wrong mid-run.
pub(crate) const EARLY: &[&str] = &["/usr/bin/bash", "/opt/data.txt"];

/// Read after it: large, and far from the others.
pub(crate) const LATE: &[&str] = &[
    "/usr/bin/python3",
    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
];

/// What came of reading through faults.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All bytes, and all of them right.
    Right,
    /// An error, in a line for each read that failed.
    Failed(String),
}

/// A time in earnest, or a shorter one.
pub(crate) fn scaled(real: u64, short: u64) -> Duration {
    let earnest = std::env::var_os("SKIFF_TEST_REAL_TIMES").is_some_and(|value| value == "1");
    Duration::from_secs(if earnest { real } else { short })
}

/// How long skiff tries in these tests.
pub(crate) fn patience() -> Duration {
    scaled(90, 4)
}

/// Digests of files, as the image that is here shows them.
pub(crate) fn digests(place: &Place, image: &str, files: &[&str]) -> String {
    let mut cmd = place.exec(image, &["sha256sum"]);
    cmd.args(files);
    cmd.run().expect_success("the image at home").stdout_text()
}

/// `cmd` tries for [`patience`], and takes a request without an answer for lost after a while.
pub(crate) fn patient(mut cmd: Cmd) -> Cmd {
    let seconds = |time: Duration| time.as_secs().to_string();
    cmd.env("SKIFF_NETWORK_TIMEOUT", seconds(patience()))
        .env("SKIFF_LOOKUP_TIMEOUT", seconds(patience()))
        .env("SKIFF_STALL_TIMEOUT", seconds(scaled(15, 1)));
    cmd
}

/// Judges what a program that printed digests did.
pub(crate) fn judge(outcome: &Outcome, wanted: &str, what: &str) -> Verdict {
    assert!(
        outcome.status.is_some(),
        "{what}: it never ended: {outcome}"
    );
    let printed = outcome.stdout_text();
    for line in printed.lines() {
        assert!(wanted.contains(line), "{what}: wrong bytes: {outcome}");
    }
    if outcome.success() {
        assert_eq!(printed, wanted, "{what}: bytes are missing");
        return Verdict::Right;
    }
    let limit = patience() * 4 + Duration::from_secs(30);
    assert!(outcome.took < limit, "{what}: it took {:?}", outcome.took);
    // Each read that fails may say so.
    Verdict::Failed(error_lines(outcome, LATE.len()))
}

/// A place and a server with an image for it.
pub(crate) struct Faulty {
    pub(crate) place: Place,
    pub(crate) site: std::sync::Arc<Site>,
    pub(crate) server: Server,
    pub(crate) url: String,
}

impl Faulty {
    pub(crate) fn new(name: &str) -> Self {
        let content = Content::file(&python_sif()).expect("there");
        let site = Site::with("/a.sif", content);
        let server = Server::start(site.clone());
        let url = server.url("/a.sif");
        let place = Place::new(name);
        Self {
            place,
            site,
            server,
            url,
        }
    }

    /// The digests that have to come out.
    pub(crate) fn wanted(&self) -> String {
        let sif = python_sif();
        let files: Vec<_> = EARLY.iter().chain(LATE).copied().collect();
        digests(&self.place, sif.to_str().expect("plain"), &files)
    }

    /// Reads everything with a fresh cache.
    pub(crate) fn read_all(&self) -> Outcome {
        self.place.wait_for_the_end();
        std::fs::remove_dir_all(self.place.cache()).ok();
        let mut cmd = patient(self.place.exec(&self.url, &["sha256sum"]));
        cmd.args(EARLY).args(LATE).run()
    }

    /// Starts a program that reads the early files, waits for word, and reads the late ones.
    pub(crate) fn start(&self) -> Reader {
        Reader::start(patient(self.place.skiff(&["exec", &self.url])))
    }
}

/// A program that waits in the middle of its reading.
pub(crate) struct Reader {
    child: Child,
    begin: Instant,
    early: Vec<u8>,
}

impl Reader {
    /// `cmd` is a launch that lacks the program.
    pub(crate) fn start(mut cmd: Cmd) -> Self {
        let script = format!(
            "sha256sum {} && echo ready && read word && exec sha256sum {}",
            EARLY.join(" "),
            LATE.join(" ")
        );
        let begin = Instant::now();
        let mut child = cmd.args(["sh", "-c", &script]).stdin_open().start();
        let early = read_until_ready(&mut child);
        Self {
            child,
            begin,
            early,
        }
    }

    /// Lets it go on, and waits for its end.
    pub(crate) fn go_on(mut self) -> Outcome {
        let mut stdin = self.child.stdin.take().expect("piped");
        stdin.write_all(b"on\n").expect("it waits");
        drop(stdin);
        let output = self.child.wait_with_output().expect("it was started");
        Outcome {
            status: Some(output.status),
            stdout: [self.early, output.stdout].concat(),
            stderr: output.stderr,
            took: self.begin.elapsed(),
        }
    }
}

/// What it prints before it is ready.
fn read_until_ready(child: &mut Child) -> Vec<u8> {
    use std::io::Read;
    let stdout = child.stdout.as_mut().expect("piped");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"ready\n") {
        match stdout.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => {
                let mut text = String::new();
                if let Some(stderr) = child.stderr.as_mut() {
                    stderr.read_to_string(&mut text).ok();
                }
                panic!("it ended early: {text}");
            }
        }
    }
    seen.truncate(seen.len() - b"ready\n".len());
    seen
}
