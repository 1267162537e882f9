//! What the cache takes, and what it gives up first.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use skiff_cache::disk::CHUNK;

use crate::child::{Job, Running};
use crate::origin::{Origin, Random};

const QUOTA: u64 = 2 << 20;
const BLOBS: u64 = 5;
const WRITERS: u64 = 4;

/// Reads here and there in a working set of ten times the quota.
pub(crate) fn roam(job: &Job) {
    let cache = job.cache();
    let mut random = Random(job.number);
    let blobs: Vec<_> = (0..BLOBS)
        .map(|number| Origin::new(number, 10 * QUOTA / BLOBS))
        .map(|origin| (origin.open(&cache), origin))
        .collect();
    for _ in 0..150 {
        let (blob, origin) = &blobs[usize::try_from(random.below(BLOBS)).unwrap()];
        let range = origin.range(300_000, &mut random);
        origin.read(blob, &range, &mut random);
    }
}

/// Bytes on the disk of data, and of everything else.
fn taken(dir: &Path) -> (u64, u64) {
    let mut taken = (0, 0);
    for entry in std::fs::read_dir(dir.join("blobs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(data) = entry.metadata() else {
            continue;
        };
        let is_data = entry.path().extension().is_some_and(|name| name == "data");
        *if is_data { &mut taken.0 } else { &mut taken.1 } += data.blocks() * 512;
    }
    taken
}

#[test]
fn kept_within_a_chunk_per_writer() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("roam", dir.path(), 0).with_quota(QUOTA);
    let mut writers: Vec<Running> = (0..WRITERS)
        .map(|number| {
            Job {
                number,
                ..job.clone()
            }
            .start()
        })
        .collect();
    let mut most = 0;
    loop {
        let running: Vec<&Running> = writers
            .iter_mut()
            .filter_map(|writer| writer.0.try_wait().unwrap().is_none().then_some(&*writer))
            .collect();
        if running.is_empty() {
            break;
        }
        // All of them stand still while it is counted: else what moves from a file counted before
        // to one counted later counts twice.
        running.iter().for_each(|writer| writer.pause());
        let (data, other) = taken(&job.cache_dir());
        running
            .iter()
            .for_each(|writer| writer.signal(Signal::CONT));
        most = most.max(data + other);
        // The count knows a grain's part of the index, and not that files come in blocks.
        assert!(
            data + other <= QUOTA + WRITERS * CHUNK + other,
            "{data} and {other}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    writers.into_iter().for_each(Running::finish);
    assert!(most > QUOTA / 2, "it was used: {most}");
    let freed = job.cache().gc(None).unwrap();
    assert!(freed.used <= QUOTA, "{freed:?}");
}

const TOUCHED: u64 = 12;

fn small(number: u64) -> Origin {
    Origin::new(number % 3, TOUCHED * CHUNK)
}

/// Uses a single chunk: number / 3 of blob number % 3.
pub(crate) fn touch(job: &Job) {
    let origin = small(job.number);
    let blob = origin.open(&job.cache());
    let at = job.number / 3 * CHUNK;
    origin.read(&blob, &(at..at + CHUNK), &mut Random(7));
}

#[test]
fn the_least_recently_used_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Job::new("", dir.path(), 0).cache();
    let order: Vec<u64> = vec![5, 0, 7, 1, 11, 2, 8];
    let mut blobs = Vec::new();
    for number in 0..TOUCHED {
        let origin = small(number);
        let blob = origin.open(&cache);
        let at = number / 3 * CHUNK;
        blob.fill(at..at + CHUNK, &origin).unwrap();
        blobs.push((number, blob, at));
    }
    // Uses are told apart when a tenth of a second lies between them.
    std::thread::sleep(Duration::from_millis(110));
    for number in &order {
        Job::new("touch", dir.path(), *number).start().finish();
        std::thread::sleep(Duration::from_millis(110));
    }
    let is_there = |number: u64| {
        let found = blobs.iter().find(|(other, ..)| *other == number);
        let (_, blob, at) = found.unwrap();
        blob.missing(*at..at + CHUNK).is_empty()
    };
    // First those that were not touched, in whatever order.
    let used = cache.usage().unwrap().used;
    cache
        .gc(Some(used - (TOUCHED - order.len() as u64) * CHUNK))
        .unwrap();
    for number in 0..TOUCHED {
        assert_eq!(is_there(number), order.contains(&number), "{number}");
    }
    for gone in 0..order.len() {
        let there: Vec<u64> = order
            .iter()
            .copied()
            .filter(|number| is_there(*number))
            .collect();
        assert_eq!(there, order[gone..], "{gone}");
        let used = cache.usage().unwrap().used;
        cache.gc(Some(used - 1)).unwrap();
    }
}
