//! `warm`: what it has fetched runs without a network, and whatever goes wrong it ends in time, with
//! exit code 0, and leaves a good cache.

use std::time::Duration;

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::require;
use skiff_tests::web::{Fault, Place, When};

use crate::faults::{Faulty, patient, scaled};
use crate::shared_cache::{Disk, read_all, serve, wanted};

fn warm(place: &Place, args: &[&str]) -> Outcome {
    patient(place.skiff(&["warm"])).args(args).run()
}

#[test]
fn all_of_an_image_runs_without_its_server() {
    require!("warm --full"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (server, url) = serve();
    let place = Place::new("warm");
    warm(&place, &["--full", &url]).expect_success("warm --full");
    let log = server.log();
    assert_eq!(log.repeated_bytes(), 0, "{}", log.repeated());
    // Again: nothing to do.
    log.clear();
    warm(&place, &["--full", &url]).expect_success("warm again");
    assert!(log.data_bytes() <= 64 << 10, "{log}");
    // It counts who asks, and has nothing for them.
    server.faults().add(Fault::Status(503), When::Always);
    log.clear();
    let mut cmd = read_all(&place, &url);
    cmd.env("SKIFF_OFFLINE", "1");
    let outcome = cmd.run().expect_success("offline");
    assert_eq!(outcome.stdout_text(), wanted());
    place.wait_for_the_end();
    assert_eq!(log.len(), 0, "{log}");
    server.go();
    // Without word of it as well, after a look whether the server is there.
    let mut cmd = read_all(&place, &url);
    cmd.env("SKIFF_TAG_TTL", "0")
        .env("SKIFF_LOOKUP_TIMEOUT", "2");
    let outcome = cmd.run().expect_success("the server gone");
    assert_eq!(outcome.stdout_text(), wanted());
}

#[test]
fn what_is_needed_to_start_is_there() {
    require!("warm"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (server, url) = serve();
    let place = Place::new("warm-start");
    warm(&place, &[&url]).expect_success("warm");
    let log = server.log();
    let fetched = log.data_bytes();
    log.clear();
    place
        .exec(&url, &["sh", "-c", "true"])
        .run()
        .expect_success("a shell");
    assert_eq!(log.data_requests(), 0, "{log}");
    eprintln!("{fetched} bytes for a start");
    warm(
        &place,
        &[
            "--files",
            "/usr/bin/python3*",
            "--files",
            "/usr/lib/python3*/json/**",
            &url,
        ],
    )
    .expect_success("warm --files");
    log.clear();
    place
        .exec(&url, &["sha256sum", "/usr/bin/python3"])
        .run()
        .expect_success("a file");
    let left = log.data_bytes();
    assert!(left < 500_000, "{left} bytes were left\n{log}");
}

/// Under every fault: exit code 0, in time, and what is in the cache then is good.
#[test]
fn faults_are_no_failures() {
    require!("warm under faults"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("warm-faults");
    let stall = Fault::Stall {
        after: 1000,
        pause: scaled(60, 5),
    };
    let deadline = Duration::from_secs(1);
    let mut cases = vec![
        (Fault::Status(500), When::OneOf(3)),
        (Fault::Status(503), When::Always),
        (Fault::TooMany { seconds: 30 }, When::Always),
        (Fault::Reset { after: 10_000 }, When::OneOf(3)),
        (Fault::Truncate { after: 5_000 }, When::OneOf(2)),
        (stall, When::OneOf(2)),
        (Fault::WrongPlace, When::Always),
        (Fault::WrongTotal, When::OneOf(4)),
        (Fault::WholeFile, When::Always),
        (Fault::Gzip, When::Always),
        (
            Fault::Redirect("http://skiff-tests.invalid/".to_owned()),
            When::Always,
        ),
    ];
    // Nothing wrong at all, last: what the others left is completed.
    cases.push((Fault::Status(500), When::Next(0)));
    for (fault, when) in cases {
        let what = format!("{fault:?} {when:?}");
        faulty.server.faults().clear();
        faulty.server.faults().add(fault, when);
        let args = ["--full", "--json", "--deadline", "1s", &faulty.url];
        let outcome = warm(&faulty.place, &args).expect_success(&what);
        let took = own_time(&outcome);
        assert!(took < deadline + LATE_BY, "{what}: {took:?}: {outcome}");
        // The program does not wait for the network for long, and gets no wrong bytes.
        faulty.server.faults().clear();
        let mut cmd = patient(read_all(&faulty.place, &faulty.url));
        cmd.env("SKIFF_LINGER", "0");
        let outcome = cmd.run().expect_success(&what);
        assert_eq!(outcome.stdout_text(), wanted(), "{what}");
    }
}

/// How much later than its deadline `warm` may end on a machine that has other work. What it would
/// wait for in these tests takes longer.
const LATE_BY: Duration = Duration::from_secs(4);

/// How long `warm` took by its own account, which a busy machine does not distort by starting it
/// late. The whole must end some time as well.
fn own_time(outcome: &Outcome) -> Duration {
    assert!(outcome.took < Duration::from_secs(30), "{outcome}");
    let text = outcome.stdout_text();
    let last = text.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(summary["event"], "summary", "{text}");
    Duration::from_secs_f64(summary["seconds"].as_f64().expect("a number"))
}

#[test]
fn a_deadline_is_kept() {
    require!("warm --deadline"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (server, url) = serve();
    let place = Place::new("warm-deadline");
    let second = Duration::from_secs(1);
    let in_time = |outcome: Outcome, what: &str| {
        let outcome = outcome.expect_success(what);
        let took = own_time(&outcome);
        assert!(took < second + LATE_BY, "{what}: {took:?}: {outcome}");
        took
    };
    let limited = ["--full", "--json", "--deadline", "1s"];
    // Too slow to get done: a quarter of a second for each request.
    server.set_latency(Duration::from_millis(250));
    let outcome = warm(&place, &[&limited[..], &["--jobs", "2", &url]].concat());
    in_time(outcome, "a deadline");
    // And one that cannot even be reached.
    server.set_latency(Duration::from_secs(20));
    let other = url.replace("a.sif", "b.sif");
    let outcome = warm(&place, &[&limited[..], &[&url, &other]].concat());
    let took = in_time(outcome, "a server that thinks");
    assert!(took >= second, "it gave up after {took:?}");
    server.set_latency(Duration::ZERO);
    // And a list of paths that does not come.
    let pipe = place.folder.join("paths");
    let made = Cmd::new("/usr/bin/mkfifo")
        .arg("-m")
        .arg("666")
        .arg(&pipe)
        .run();
    made.expect_success("mkfifo");
    let pipe = pipe.to_str().expect("plain");
    let list = ["--json", "--deadline", "1s", "--paths-from", pipe, &url];
    let outcome = warm(&place, &list);
    assert!(outcome.stdout_text().contains("\"late\":1"), "{outcome}");
    in_time(outcome, "a list that does not come");
    let outcome = read_all(&place, &url).run().expect_success("afterwards");
    assert_eq!(outcome.stdout_text(), wanted());
}

#[test]
fn a_full_disk_is_no_failure() {
    require!("warm with a full disk"; Skiff, Apptainer, Fuse, UserNamespaces, Loop);
    let (_server, url) = serve();
    let place = Place::new("warm-full-disk");
    let disk = Disk::new(&place, 8);
    warm(&place, &["--full", "--deadline", "10s", &url]).expect_success("too small a disk");
    disk.fill();
    warm(&place, &["--full", "--deadline", "10s", &url]).expect_success("a full disk");
    let outcome = read_all(&place, &url).run().expect_success("afterwards");
    assert_eq!(outcome.stdout_text(), wanted());
    place.wait_for_the_end();
}

/// Killed in the middle, it goes on where it was.
#[test]
fn a_killed_one_is_gone_on_with() {
    require!("killed warm"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (server, url) = serve();
    let place = Place::new("warm-killed");
    server.set_latency(Duration::from_millis(20));
    for _ in 0..4 {
        let mut child = place.skiff(&["warm", "--full", &url]).start();
        std::thread::sleep(Duration::from_millis(150));
        skiff_tests::command::kill_group(&child);
        child.wait().expect("it was started");
    }
    warm(&place, &["--full", &url]).expect_success("the last");
    server.go();
    let outcome = read_all(&place, &url).run().expect_success("offline");
    assert_eq!(outcome.stdout_text(), wanted());
}

/// What is pinned stays when room is made for other things.
#[test]
fn what_is_pinned_stays() {
    require!("warm --pin"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (server, url) = serve();
    let place = Place::new("warm-pin");
    warm(&place, &["--pin", &url]).expect_success("warm --pin");
    let log = server.log();
    // The same bytes under another name are another image.
    let second = crate::shared_cache::serve();
    let mut cmd = read_all(&place, &second.1);
    cmd.env("SKIFF_CACHE_QUOTA", "3M");
    cmd.run().expect_success("another image");
    place.wait_for_the_end();
    log.clear();
    place
        .exec(&url, &["sh", "-c", "true"])
        .run()
        .expect_success("the pinned one");
    assert_eq!(log.data_requests(), 0, "{log}");
}
