//! Answers that are wrong, late, cut off, or none.

use std::time::{Duration, Instant};

use skiff_tests::require;
use skiff_tests::web::{Content, Fault, Server, Site, When};

use super::{Faulty, Verdict, judge, patience, scaled};
use crate::remote::python_sif;

/// Faults that pass: the program notices nothing.
#[test]
fn what_passes_is_waited_for() {
    require!("faults that pass"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("passing");
    let wanted = faulty.wanted();
    let stall = Fault::Stall {
        after: 1000,
        pause: scaled(60, 5),
    };
    let cases = [
        (Fault::Status(500), When::Next(3)),
        (Fault::Status(502), When::OneOf(4)),
        (Fault::Status(503), When::Next(3)),
        (Fault::TooMany { seconds: 1 }, When::Next(2)),
        (Fault::Reset { after: 10_000 }, When::OneOf(3)),
        (Fault::Reset { after: 0 }, When::OneOf(5)),
        (Fault::Truncate { after: 5_000 }, When::OneOf(3)),
        (Fault::ShortLength, When::OneOf(2)),
        (stall, When::OneOf(20)),
    ];
    for (fault, when) in cases {
        let what = format!("{fault:?} {when:?}");
        faulty.server.faults().clear();
        faulty.server.log().clear();
        faulty.server.faults().add(fault, when);
        let outcome = faulty.read_all();
        let verdict = judge(&outcome, &wanted, &what);
        let log = faulty.server.log();
        assert!(
            matches!(verdict, Verdict::Right),
            "{what}: {verdict:?}\n{log}"
        );
        let seen = log.count(|entry| entry.fault.is_some());
        assert!(seen > 0, "{what} never came\n{log}");
    }
}

/// A server that says when to come again is not asked before.
#[test]
fn retry_after_is_kept_to() {
    require!("Retry-After"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("rest");
    faulty
        .server
        .faults()
        .add(Fault::TooMany { seconds: 2 }, When::Next(1));
    let outcome = faulty.read_all();
    assert!(matches!(
        judge(&outcome, &faulty.wanted(), "429"),
        Verdict::Right
    ));
    let entries = faulty.server.log().entries();
    let refused = entries.iter().position(|entry| entry.status == 429);
    let refused = refused.expect("it was");
    let next = entries.get(refused + 1).expect("it came again");
    let rest = next.at - entries[refused].at;
    assert!(
        rest >= Duration::from_millis(1900),
        "came again after {rest:?}"
    );
}

/// Faults that last: an error with one line, and never wrong bytes.
#[test]
fn what_lasts_is_an_error_with_one_line() {
    require!("faults that last"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("lasting");
    let wanted = faulty.wanted();
    // Whether it may come out right from the start, and in the middle.
    let cases = [
        (Fault::Status(500), false, false),
        (Fault::Reset { after: 0 }, false, false),
        (Fault::WrongPlace, false, false),
        // A server that lies from the start keeps to it, and its bytes are right.
        (Fault::WrongTotal, true, false),
        (Fault::Gzip, false, false),
        (Fault::WholeFile, true, true),
    ];
    for (fault, may_be_right, may_go_on) in cases {
        let what = format!("{fault:?}");
        faulty.server.faults().clear();
        faulty.server.faults().add(fault.clone(), When::Always);
        let outcome = faulty.read_all();
        let verdict = judge(&outcome, &wanted, &what);
        assert!(
            may_be_right || matches!(verdict, Verdict::Failed(_)),
            "{what}: {verdict:?}"
        );
        faulty.server.faults().clear();
        faulty.place.wait_for_the_end();
        std::fs::remove_dir_all(faulty.place.cache()).ok();
        let reader = faulty.start();
        faulty.server.faults().add(fault, When::Always);
        let begin = Instant::now();
        let outcome = reader.go_on();
        let took = begin.elapsed();
        let verdict = judge(&outcome, &wanted, &what);
        assert!(
            may_go_on || matches!(verdict, Verdict::Failed(_)),
            "{what} in the middle: {verdict:?}"
        );
        // Two files, each tried for as long as that.
        let limit = patience() * 3 + Duration::from_secs(15);
        assert!(took < limit, "{what}: {took:?}");
        eprintln!("{what}: {verdict:?} after {took:?}");
    }
}

/// A server that packs or cuts once in a while is not believed, and asked again.
#[test]
fn wrong_answers_now_and_then_do_no_harm() {
    require!("wrong answers"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("wrong");
    let wanted = faulty.wanted();
    for fault in [
        Fault::WrongPlace,
        Fault::WrongTotal,
        Fault::WholeFile,
        Fault::Gzip,
    ] {
        let what = format!("{fault:?} now and then");
        faulty.server.faults().clear();
        faulty.server.faults().add(fault, When::OneOf(7));
        let verdict = judge(&faulty.read_all(), &wanted, &what);
        eprintln!("{what}: {verdict:?}");
    }
}

/// An outage is sat out; one without end is an error after the time that was set.
#[test]
fn a_server_goes_and_comes_back() {
    require!("outages"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("outage");
    let wanted = faulty.wanted();
    let reader = faulty.start();
    faulty.server.go();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(scaled(30, 2));
            faulty.server.come_back();
        });
        reader.go_on()
    });
    let verdict = judge(&outcome, &wanted, "an outage");
    assert!(matches!(verdict, Verdict::Right), "{verdict:?}");

    faulty.place.wait_for_the_end();
    std::fs::remove_dir_all(faulty.place.cache()).ok();
    let reader = faulty.start();
    faulty.server.go();
    let begin = Instant::now();
    let outcome = reader.go_on();
    let took = begin.elapsed();
    let Verdict::Failed(line) = judge(&outcome, &wanted, "an outage without end") else {
        panic!("it was all there");
    };
    assert!(line.contains("gave up"), "{line}");
    let limit = patience() * 3 + Duration::from_secs(15);
    assert!(took > patience() / 2 && took < limit, "{took:?}");
    let log = faulty.place.log();
    assert!(log.contains("gave up"), "the log says nothing: {log:?}");
}

/// Another image under the same name: those who run keep getting bytes of the old one or errors,
/// whoever starts gets the new one.
#[test]
fn an_image_is_replaced_under_a_running_program() {
    require!("replaced images"; Skiff, Apptainer, Fuse, UserNamespaces);
    let old = std::fs::read(python_sif()).expect("there");
    // The same length, and bytes that would be noticed: files of the old image, otherwise packed.
    let mut new = old.clone();
    for byte in new.iter_mut().skip(1 << 16) {
        *byte ^= 0x55;
    }
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_100);
    let plain = Content::memory(old);
    let other = Content::memory(new);
    let cases = [
        (
            "a new ETag",
            plain.clone().with_etag(Some("one")),
            other.clone().with_etag(Some("two")),
        ),
        (
            "a new time",
            plain.clone().with_etag(None),
            other.clone().with_etag(None).with_modified(Some(later)),
        ),
        (
            "a new length",
            plain.with_etag(None).with_modified(None),
            Content::memory(vec![0; 5_000_000])
                .with_etag(None)
                .with_modified(None),
        ),
    ];
    for (what, before, after) in cases {
        let faulty = Faulty::new("replaced");
        let wanted = faulty.wanted();
        faulty.site.put("/a.sif", before);
        let reader = faulty.start();
        faulty.site.put("/a.sif", after);
        let outcome = reader.go_on();
        let Verdict::Failed(line) = judge(&outcome, &wanted, what) else {
            panic!("{what} went unnoticed");
        };
        assert!(line.contains("replaced"), "{what}: {line}");
    }
}

#[test]
fn names_that_do_not_resolve_and_ports_that_do_not_answer() {
    require!("unreachable servers"; Skiff, Apptainer, Fuse, UserNamespaces);
    let faulty = Faulty::new("nowhere");
    let gone = Server::start(Site::new());
    let closed = gone.url("/a.sif");
    drop(gone);
    for url in [
        "http://skiff-tests.invalid/a.sif".to_owned(),
        "oras://skiff-tests.invalid/lab/py:3".to_owned(),
        closed,
        faulty.server.url("/nothing.sif"),
    ] {
        let outcome = super::patient(faulty.place.exec(&url, &["true"])).run();
        let Verdict::Failed(line) = judge(&outcome, "", &url) else {
            panic!("{url} ran");
        };
        assert_eq!(outcome.code(), Some(255), "{outcome}");
        eprintln!("{line}");
    }
}
