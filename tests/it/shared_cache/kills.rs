//! Servers are killed while they fetch and evict.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::web::Place;

use super::{on_disk, read_all, rounds, serve, wanted};
use crate::remote::probing;

/// Three programs read from three holders that share a cache, which is far too small for what they
/// read, so that all of them fetch and evict all the time; whichever server is seen is killed.
#[test]
fn servers_die_while_they_fetch_and_evict() {
    require!("kills while fetching"; Skiff, Apptainer, Fuse, UserNamespaces, Resend);
    let kills = rounds("SKIFF_TEST_KILLS", 40);
    let (server, url) = serve();
    let place = Place::new("kills");
    let sums = place.folder.join("sums");
    std::fs::write(&sums, wanted()).expect("room");
    let stop = place.folder.join("stop");
    let mut children: Vec<_> = (0..3)
        .map(|number| {
            let run = place.folder.join(format!("run-{number}"));
            let way = if number == 2 { "mmap" } else { "read" };
            let mut cmd = probing(
                &place,
                &url,
                &["/mnt/probe", "soak", way, "/", "/mnt/sums", "/mnt/stop"],
            );
            cmd.env("SKIFF_RUNTIME_DIR", run);
            cmd.env("SKIFF_CACHE_QUOTA", "3M");
            cmd.env("SKIFF_NETWORK_TIMEOUT", "60");
            cmd.start()
        })
        .collect();
    let begin = Instant::now();
    let limit = Duration::from_secs(60 + kills);
    let mut random = Random::new(500);
    let mut dead = 0;
    let mut most = 0;
    while dead < kills && begin.elapsed() < limit {
        if children
            .iter_mut()
            .any(|child| !matches!(child.try_wait(), Ok(None)))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(random.below(250)));
        most = most.max(on_disk(&place.cache().join("blobs")));
        let servers: Vec<_> = place
            .processes()
            .into_iter()
            .filter(|process| process.name == "skiff-server")
            .collect();
        let pick = random.below(servers.len() as u64);
        let Some(server) = servers.get(usize::try_from(pick).unwrap_or(0)) else {
            continue;
        };
        if let Some(pid) = rustix::process::Pid::from_raw(server.pid) {
            // It may have ended just now.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            dead += 1;
        }
    }
    std::fs::write(&stop, "").expect("room");
    for child in children {
        let output = child.wait_with_output().expect("it was started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "after {dead} kills: {} {text} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(dead, kills, "so many kills in {:?}", begin.elapsed());
    // What they left behind is good.
    read_again(&place, &url);
    eprintln!(
        "{dead} kills in {:?}, at most {most} bytes cached, {} fetched",
        begin.elapsed(),
        server.log().data_bytes()
    );
}

/// Launches are killed while they look the image up and begin to fetch it.
#[test]
fn launches_die_while_they_begin() {
    require!("killed launches"; Skiff, Apptainer, Fuse, UserNamespaces);
    let (server, url) = serve();
    server.set_latency(Duration::from_millis(10));
    let place = Place::new("begin");
    let mut random = Random::new(8);
    for _ in 0..rounds("SKIFF_TEST_KILLS", 40) {
        let mut child = place.exec(&url, &["python3", "-c", "import json"]).start();
        std::thread::sleep(Duration::from_millis(random.below(200)));
        skiff_tests::command::kill_group(&child);
        child.wait().expect("it was started");
    }
    read_again(&place, &url);
    place.wait_for_the_end();
}

fn read_again(place: &Place, url: &str) {
    let outcome = read_all(place, url).run().expect_success("afterwards");
    assert_eq!(outcome.stdout_text(), wanted());
}

/// The quota is kept by several writers at once.
#[test]
fn the_quota_is_kept() {
    require!("quota"; Skiff, Apptainer, Fuse, UserNamespaces);
    let quota: u64 = 2 << 20;
    let (_server, url) = serve();
    let place = Place::new("quota");
    let runs: Vec<PathBuf> = (0..4)
        .map(|number| place.folder.join(format!("run-{number}")))
        .collect();
    let mut children: Vec<_> = runs
        .iter()
        .map(|run| {
            let mut cmd = read_all(&place, &url);
            cmd.env("SKIFF_RUNTIME_DIR", run);
            cmd.env("SKIFF_CACHE_QUOTA", quota.to_string());
            cmd.start()
        })
        .collect();
    let mut most = 0;
    let begin = Instant::now();
    while children
        .iter_mut()
        .any(|child| matches!(child.try_wait(), Ok(None)))
    {
        most = most.max(on_disk(&place.cache()));
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
    for child in children {
        let output = child.wait_with_output().expect("it was started");
        assert_eq!(String::from_utf8_lossy(&output.stdout), wanted());
    }
    // One chunk per writer, and what indexes and notes take.
    let beyond = 4 * (64 << 10) + (1 << 20);
    assert!(
        most <= quota + beyond,
        "{most} bytes for a quota of {quota}"
    );
    assert!(most > quota / 2, "only {most} bytes of {quota} were used");
    eprintln!("at most {most} bytes for a quota of {quota}");
}
