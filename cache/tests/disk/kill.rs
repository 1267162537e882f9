//! Writers that are killed at any moment.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use skiff_cache::disk::{CHUNK, GRAIN};

use crate::child::{Job, Running};
use crate::origin::{Origin, Random};

const KILLS: u64 = 500;
const AT_ONCE: usize = 6;
const QUOTA: u64 = 1 << 20;
const BLOBS: u64 = 2;

fn origin(number: u64) -> Origin {
    Origin::new(number, (2 << 20) + 777)
}

/// Reads and writes and compares until it is killed, or told to stop.
pub(crate) fn churn(job: &Job) {
    let mut random = Random(job.number);
    let cache = job.cache();
    let origins: Vec<Origin> = (0..BLOBS).map(origin).collect();
    let blobs: Vec<_> = origins.iter().map(|origin| origin.open(&cache)).collect();
    std::fs::write(job.dir.join(format!("ready.{}", job.number)), b"").unwrap();
    while !job.is_over() {
        let which = usize::try_from(random.below(BLOBS)).unwrap();
        let range = origins[which].range(200_000, &mut random);
        origins[which].read(&blobs[which], &range, &mut random);
    }
}

#[test]
fn killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let watcher = Job::new("churn", dir.path(), u64::MAX).with_quota(QUOTA);
    let watching = watcher.start();
    let mut random = Random(1);
    let mut running: Vec<(u64, Running)> = Vec::new();
    for number in 0..KILLS {
        running.push((
            number,
            Job {
                number,
                ..watcher.clone()
            }
            .start(),
        ));
        if running.len() >= AT_ONCE {
            // Most of them while they work, some while they begin.
            let (number, victim) = running.remove(0);
            if number % 8 != 0 {
                let ready = dir.path().join(format!("ready.{number}"));
                crate::child::until("begins", || ready.exists());
            }
            std::thread::sleep(Duration::from_micros(random.below(4000)));
            victim.kill();
        }
    }
    running.into_iter().for_each(|(_, victim)| victim.kill());
    watcher.end();
    watching.finish();

    let cache = watcher.cache();
    let freed = cache.gc(None).unwrap();
    assert!(freed.used <= QUOTA, "{freed:?}");
    for origin in (0..BLOBS).map(origin) {
        let blob = origin.open(&cache);
        let path = cache
            .dir()
            .join(format!("blobs/{}.data", origin.key().stem()));
        let taken = std::fs::metadata(path).unwrap().blocks() * 512;
        let known = blob.cached_bytes().next_multiple_of(GRAIN);
        assert!(taken <= known + CHUNK, "{taken} bytes for {known}");
        for _ in 0..50 {
            let range = origin.range(200_000, &mut random);
            origin.read(&blob, &range, &mut random);
        }
        assert_eq!(blob.check().dropped_bytes, 0);
    }
    let all = cache.gc(Some(0)).unwrap();
    assert!(all.used < 128 << 10, "only records remain: {all:?}");
}
