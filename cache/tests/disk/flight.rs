//! Many processes that want the same.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use skiff_cache::disk::{Fetch, GRAIN};

use crate::child::{HANGS_AFTER, Job, Running, until};
use crate::origin::{Origin, Random};

const READERS: u64 = 32;
const PIECE: u64 = 24 << 10;

fn origin(job: &Job) -> Origin {
    Origin {
        pause: Duration::from_millis(1),
        log: Some(job.dir.join("log")),
        ..Origin::new(0, (3 << 20) + 99)
    }
}

/// Reads all of a blob in an order of its own.
pub(crate) fn read_all(job: &Job) {
    let origin = origin(job);
    until("the start", || job.dir.join("go").exists());
    let blob = origin.open(&job.cache());
    let mut pieces: Vec<u64> = (0..origin.size.div_ceil(PIECE)).collect();
    let mut random = Random(job.number);
    for at in (1..pieces.len()).rev() {
        let other = usize::try_from(random.below(at as u64 + 1)).unwrap();
        pieces.swap(at, other);
    }
    for piece in pieces {
        let range = piece * PIECE..(piece * PIECE + PIECE).min(origin.size);
        let mut buf = vec![0; usize::try_from(range.end - range.start).unwrap()];
        blob.read_through(&mut buf, range.start, &origin).unwrap();
        assert!(buf == origin.bytes(&range), "wrong bytes in {range:?}");
    }
}

#[test]
fn every_grain_crosses_once() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("read-all", dir.path(), 0);
    let readers: Vec<Running> = (0..READERS)
        .map(|number| {
            Job {
                number,
                ..job.clone()
            }
            .start()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(dir.path().join("go"), b"").unwrap();
    for reader in readers {
        reader.finish();
    }
    let origin = origin(&job);
    let mut times = vec![0; usize::try_from(origin.size.div_ceil(GRAIN)).unwrap()];
    for line in std::fs::read_to_string(dir.path().join("log"))
        .unwrap()
        .lines()
    {
        let (from, to) = line.split_once(' ').unwrap();
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        for grain in from / GRAIN..to.div_ceil(GRAIN) {
            times[usize::try_from(grain).unwrap()] += 1;
        }
    }
    let other = times.iter().filter(|times| **times != 1).count();
    assert_eq!(other, 0, "grains that crossed never or twice: {times:?}");
}

/// Never gets anything.
#[derive(Debug)]
struct Hanging<'a>(&'a Job);

impl Fetch for Hanging<'_> {
    fn fetch(
        &self,
        _range: std::ops::Range<u64>,
        _sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        std::fs::write(self.0.dir.join("hangs"), b"")?;
        std::thread::sleep(Duration::from_secs(60));
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

pub(crate) fn hang(job: &Job) {
    let blob = origin(job).open(&job.cache());
    let outcome = blob.read_through(&mut [0; 100_000], 0, &Hanging(job));
    assert!(outcome.is_err());
}

#[test]
fn a_stopped_process_is_overtaken() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("hang", dir.path(), 0);
    let stopped = job.start();
    until("the fetch", || dir.path().join("hangs").exists());
    stopped.signal(Signal::STOP);
    let cache = job.cache();
    cache.set_patience(Duration::from_millis(300));
    let origin = origin(&job);
    let start = Instant::now();
    let blob = origin.open(&cache);
    let mut buf = vec![0; 50_000];
    blob.read_through(&mut buf, 1000, &origin).unwrap();
    assert!(buf == origin.bytes(&(1000..51_000)));
    let took = start.elapsed();
    // Far from the patience that it would have had.
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert!(blob.read_cached(&mut buf, 1000), "kept nevertheless");
}

#[test]
fn a_process_stopped_with_the_count_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("", dir.path(), 0);
    let cache = job.cache();
    let origin = Origin::new(1, 1 << 20);
    let blob = origin.open(&cache);
    let held: Vec<std::fs::File> = ["usage", "evict.lock"]
        .iter()
        .map(|name| {
            let path = cache.dir().join(name);
            let file = std::fs::File::create(path).unwrap();
            std::fs::set_permissions(
                cache.dir().join(name),
                std::os::unix::fs::PermissionsExt::from_mode(0o600),
            )
            .unwrap();
            file.lock().unwrap();
            file
        })
        .collect();
    let start = Instant::now();
    let mut buf = vec![0; 500_000];
    for _ in 0..3 {
        blob.read_through(&mut buf, 0, &origin).unwrap();
        assert!(buf == origin.bytes(&(0..500_000)));
    }
    assert!(start.elapsed() < HANGS_AFTER, "{:?}", start.elapsed());
    drop(held);
}
