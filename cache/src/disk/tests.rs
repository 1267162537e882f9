//! Tests of the cache as the threads of one process see it.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

/// A blob in memory, and what was asked of it.
#[derive(Debug)]
struct Origin {
    bytes: Vec<u8>,
    asked: Mutex<Vec<Range<u64>>>,
    pause: std::time::Duration,
    broken: AtomicBool,
    calls: AtomicU64,
}

impl Origin {
    fn new(size: usize) -> Self {
        let bytes = (0..size as u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        Self {
            bytes,
            asked: Mutex::default(),
            pause: std::time::Duration::ZERO,
            broken: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        }
    }

    fn bytes_asked(&self) -> u64 {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|range| range.end - range.start).sum()
    }
}

impl Fetch for Origin {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("no network"));
        }
        self.asked.lock().unwrap().push(range.clone());
        for piece in self.bytes[range.start as usize..range.end as usize].chunks(10_000) {
            std::thread::sleep(self.pause);
            sink(piece)?;
        }
        Ok(())
    }
}

fn about(size: u64) -> About {
    About {
        name: "test".into(),
        size,
        digest: None,
        kind: BlobKind::Net,
    }
}

const ROOMY: Limits = Limits {
    quota: Some(1 << 40),
    keep_free: Some(0),
};

fn open(dir: &Path, limits: Limits) -> Cache {
    Cache::open(dir, limits).unwrap()
}

fn blob(cache: &Cache, key: &str, origin: &Origin) -> Blob {
    cache
        .blob(&BlobKey::new(key), &about(origin.bytes.len() as u64))
        .unwrap()
}

fn read(blob: &Blob, range: Range<usize>, origin: &Origin) -> Vec<u8> {
    let mut buf = vec![0; range.len()];
    blob.read_through(&mut buf, range.start as u64, origin)
        .unwrap();
    buf
}

#[test]
fn what_was_read_once_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(300_001);
    let cache = open(dir.path(), ROOMY);
    let one = blob(&cache, "k", &origin);
    assert_eq!(read(&one, 5000..5010, &origin), origin.bytes[5000..5010]);
    assert_eq!(
        origin.asked.lock().unwrap().first(),
        Some(&(4096..8192)),
        "one grain"
    );
    assert_eq!(read(&one, 0..300_001, &origin), origin.bytes);
    assert_eq!(origin.bytes_asked(), 300_001, "nothing twice");
    assert!(one.is_complete());
    assert_eq!(one.cached_bytes(), 300_001);
    // Another process, another time.
    let again = open(dir.path(), ROOMY);
    let two = again.find(&BlobKey::new("k")).unwrap();
    let mut buf = vec![0; 300_001];
    assert!(two.read_cached(&mut buf, 0));
    assert_eq!(buf, origin.bytes);
    assert!(!two.read_cached(&mut buf, 1), "past the end");
    let list = again.list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].cached_bytes, 300_001);
    assert!(again.find(&BlobKey::new("other")).is_none());
    let hash = two.digest().unwrap();
    assert_eq!(hash, super::key::digest(&origin.bytes));
}

#[test]
fn parts_that_fail_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(100_000);
    let blob = blob(&open(dir.path(), ROOMY), "k", &origin);
    origin.broken.store(true, Ordering::Relaxed);
    let mut buf = [0; 10];
    let error = blob.read_through(&mut buf, 0, &origin).unwrap_err();
    assert_eq!(error.to_string(), "no network");
    assert!(blob.fill(0..100_000, &origin).is_err());
    origin.broken.store(false, Ordering::Relaxed);
    assert_eq!(blob.fill(0..100_000, &origin).unwrap(), 100_000);
    assert_eq!(blob.fill(0..100_000, &origin).unwrap(), 0);
    assert!(blob.missing(0..100_000).is_empty());
}

#[test]
fn threads_fetch_each_grain_once() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Arc::new(Origin {
        pause: std::time::Duration::from_millis(1),
        ..Origin::new(1 << 20)
    });
    let blob = blob(&open(dir.path(), ROOMY), "k", &origin);
    let threads: Vec<_> = (0..16_usize)
        .map(|number| {
            let (blob, origin) = (blob.clone(), Arc::clone(&origin));
            std::thread::spawn(move || {
                if number % 4 == 0 {
                    blob.fill(0..1 << 20, &*origin).unwrap();
                }
                for step in 0..32 {
                    let at = (step * 32_771 + number * 1000) % ((1 << 20) - 20_000);
                    let got = read(&blob, at..at + 20_000, &origin);
                    assert_eq!(got, origin.bytes[at..at + 20_000]);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(origin.bytes_asked(), 1 << 20);
}

#[test]
fn least_recently_used_goes_first_and_pins_stay() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(256 << 10);
    let limits = Limits {
        quota: Some(1 << 20),
        ..ROOMY
    };
    let cache = open(dir.path(), limits);
    let fill = |key: &str| {
        let blob = blob(&cache, key, &origin);
        std::thread::sleep(std::time::Duration::from_millis(3));
        blob.fill(0..256 << 10, &origin).unwrap();
        blob
    };
    let first = fill("first");
    fill("second");
    fill("third");
    cache.pin(&BlobKey::new("second")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(110));
    assert!(first.read_cached(&mut [0; 1000], 0), "used again");
    fill("fourth");
    fill("fifth");
    let there: Vec<(String, u64)> = cache
        .list()
        .unwrap()
        .iter()
        .map(|info| (info.key.as_str().to_owned(), info.cached_bytes))
        .collect();
    let of = |key: &str| there.iter().find(|(known, _)| known == key).unwrap().1;
    assert_eq!(of("second"), 256 << 10, "pinned: {there:?}");
    assert!(of("third") < 128 << 10, "the oldest: {there:?}");
    assert_eq!(of("fifth"), 256 << 10, "the newest: {there:?}");
    assert!(first.read_cached(&mut [0; 1000], 0), "{there:?}");
    let usage = cache.usage().unwrap();
    assert!(usage.used <= (1 << 20) + CHUNK, "{usage:?}");
    assert!(cache.unpin(&BlobKey::new("second")).unwrap());
    let freed = cache.gc(Some(0)).unwrap();
    assert!(freed.used < 200 << 10, "indexes remain: {freed:?}");
    // A reader that has it open just misses.
    assert_eq!(read(&first, 0..5000, &origin), origin.bytes[..5000]);
}

/// What is fetched in place of evicted parts was never compared with the digest of the whole.
#[test]
fn an_evicted_part_takes_back_that_the_whole_was_verified() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(256 << 10);
    let cache = open(dir.path(), ROOMY);
    let state = |key: &str| cache.find(&BlobKey::new(key)).unwrap().state();
    for key in ["verified", "pinned"] {
        let blob = blob(&cache, key, &origin);
        blob.fill(0..256 << 10, &origin).unwrap();
        blob.set_state(State::Verified);
    }
    cache.pin(&BlobKey::new("pinned")).unwrap();
    cache.gc(None).unwrap();
    assert_eq!(state("verified"), State::Verified, "nothing had to go");
    cache.gc(Some(0)).unwrap();
    assert_eq!(state("verified"), State::Unverified);
    assert_eq!(state("pinned"), State::Verified);
}

/// As it is for what another process evicts and fetches during the comparison or right after it.
#[test]
fn what_was_replaced_during_the_comparison_is_not_verified() {
    let dir = tempfile::tempdir().unwrap();
    let good = Origin::new(256 << 10);
    let mut bad = Origin::new(256 << 10);
    bad.bytes.reverse();
    let cache = open(dir.path(), ROOMY);
    let first = blob(&cache, "k", &good);
    first.fill(0..256 << 10, &good).unwrap();
    let state = || first.noted_state();
    assert_eq!(first.compare(&mut |_| true), Some(true));
    assert_eq!(state(), State::Verified);
    first.set_state(State::Unverified);
    let others = open(dir.path(), ROOMY);
    let second = blob(&others, "k", &good);
    let outcome = first.compare(&mut |_| {
        others.gc(Some(0)).unwrap();
        second.fill(0..256 << 10, &bad).unwrap();
        true
    });
    assert_eq!(outcome, None);
    assert_eq!(state(), State::Unverified);
    assert_eq!(first.compare(&mut |_| false), Some(false));
    assert_eq!(second.noted_state(), State::Mismatch);
    others.gc(Some(0)).unwrap();
    assert_eq!(first.compare(&mut |_| true), None);
}

#[test]
fn a_quota_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(4 << 20);
    let limits = Limits {
        quota: Some(512 << 10),
        ..ROOMY
    };
    let cache = open(dir.path(), limits);
    let blob = blob(&cache, "k", &origin);
    for round in 0..3 {
        for at in (0..4 << 20).step_by(50_000) {
            let end = (at + 50_000).min(4 << 20);
            assert_eq!(
                read(&blob, at..end, &origin),
                origin.bytes[at..end],
                "{round}"
            );
            let used = cache.0.measure().unwrap();
            assert!(used <= (512 << 10) + CHUNK, "{used}");
        }
    }
    // With everything pinned there is no room: passed by.
    cache.pin(&BlobKey::new("k")).unwrap();
    let other = super::tests::blob(&cache, "other", &origin);
    assert_eq!(read(&other, 0..200_000, &origin), origin.bytes[..200_000]);
}

#[test]
fn damage_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(200_000);
    let cache = open(dir.path(), ROOMY);
    let held = blob(&cache, "k", &origin);
    held.fill(0..200_000, &origin).unwrap();
    let stem = BlobKey::new("k").stem();
    let path = |extension: &str| dir.path().join(format!("blobs/{stem}.{extension}"));
    let edit = |extension: &str| {
        std::fs::File::options()
            .write(true)
            .open(path(extension))
            .unwrap()
    };
    let damages: [(&str, &dyn Fn()); 9] = [
        ("flipped", &|| {
            edit("data").write_all_at(&[0xAA], 70_000).unwrap();
        }),
        ("zeroed", &|| {
            edit("data").write_all_at(&[0; 8192], 4096).unwrap();
        }),
        ("cut data", &|| edit("data").set_len(10_000).unwrap()),
        ("no data", &|| edit("data").set_len(0).unwrap()),
        ("cut index", &|| edit("index").set_len(4100).unwrap()),
        ("no index", &|| edit("index").set_len(0).unwrap()),
        ("wild index", &|| {
            edit("index").write_all_at(&[0x55; 200], 4096).unwrap();
        }),
        ("wild header", &|| {
            edit("index").write_all_at(b"x", 9).unwrap();
        }),
        ("wild about", &|| {
            std::fs::write(path("about"), b"{\"size\":").unwrap();
        }),
    ];
    for (name, damage) in damages {
        damage();
        // Those who have it open, and those who come.
        let fresh = blob(&open(dir.path(), ROOMY), "k", &origin);
        for reader in [&held, &fresh] {
            let mut buf = vec![0; 200_000];
            if reader.read_cached(&mut buf, 0) {
                assert_eq!(buf, origin.bytes, "{name}");
            }
            assert_eq!(read(reader, 0..200_000, &origin), origin.bytes, "{name}");
        }
    }
    // Swapped files of two blobs.
    let other = Origin {
        bytes: vec![7; 200_000],
        ..Origin::new(0)
    };
    blob(&cache, "o", &other).fill(0..200_000, &other).unwrap();
    let foreign = BlobKey::new("o").stem();
    for extension in ["data", "index"] {
        let from = dir.path().join(format!("blobs/{foreign}.{extension}"));
        std::fs::copy(from, path(extension)).unwrap();
    }
    let fresh = blob(&open(dir.path(), ROOMY), "k", &origin);
    assert_eq!(read(&fresh, 0..200_000, &origin), origin.bytes);
    assert_eq!(fresh.check().dropped_bytes, 0);
    edit("data").write_all_at(&[1], 0).unwrap();
    let report = fresh.check();
    assert_eq!(
        (report.dropped_bytes, report.good_bytes),
        (4096, 200_000 - 4096)
    );
    assert_eq!(fresh.missing(0..200_000).first(), Some(&(0..4096)));
}

#[test]
fn unsafe_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Cache::open(&dir.path().join(name), ROOMY);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let cache = open("own").unwrap();
    assert_eq!(mode(cache.dir()), 0o700);
    std::os::unix::fs::symlink("own", dir.path().join("link")).unwrap();
    let error = open("link").unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    std::fs::create_dir(dir.path().join("open")).unwrap();
    std::fs::set_permissions(dir.path().join("open"), PermissionsExt::from_mode(0o777)).unwrap();
    let error = open("open").unwrap_err().to_string();
    assert!(error.contains("chmod go-w"), "{error}");
    // One for all users.
    std::fs::create_dir(dir.path().join("shared")).unwrap();
    std::fs::set_permissions(dir.path().join("shared"), PermissionsExt::from_mode(0o755)).unwrap();
    let origin = Origin::new(5000);
    let shared = open("shared").unwrap();
    blob(&shared, "k", &origin).fill(0..5000, &origin).unwrap();
    for entry in std::fs::read_dir(dir.path().join("shared/blobs")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o044, 0o044, "{}", path.display());
    }
}

#[test]
fn notes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), ROOMY);
    assert_eq!(cache.note("tag", "a"), None);
    cache.put_note("tag", "a", b"one").unwrap();
    cache.put_note("tag", "a", b"two").unwrap();
    assert_eq!(cache.note("tag", "a").as_deref(), Some(&b"two"[..]));
    assert_eq!(cache.note("other", "a"), None);
    let lock = cache
        .lock_note("tag", "a", std::time::Duration::ZERO)
        .unwrap();
    let second = cache.lock_note("tag", "a", std::time::Duration::from_millis(30));
    assert!(second.is_none());
    drop(lock);
    assert!(
        cache
            .lock_note("tag", "a", std::time::Duration::ZERO)
            .is_some()
    );
    let file = std::fs::read_dir(dir.path().join("notes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|name| name != "lock"))
        .unwrap();
    std::fs::write(&file, b"nonsense of some length").unwrap();
    assert_eq!(cache.note("tag", "a"), None);
}

#[test]
fn notes_by_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), ROOMY);
    std::thread::scope(|scope| {
        for number in 0..4_u8 {
            let cache = &cache;
            scope.spawn(move || {
                for _ in 0..500 {
                    cache.put_note("tag", "a", &[number; 100]).unwrap();
                    let found = cache.note("tag", "a").unwrap();
                    assert_eq!(found, vec![found[0]; 100]);
                }
            });
        }
    });
    let left = std::fs::read_dir(dir.path().join("notes")).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn many_gaps_are_filled_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(32 << 20);
    let blob = blob(&open(dir.path(), ROOMY), "k", &origin);
    for grain in (0..8192).step_by(2) {
        blob.fill(grain * GRAIN..grain * GRAIN + 1, &origin)
            .unwrap();
    }
    let before = origin.calls.load(Ordering::Relaxed);
    blob.fill(0..32 << 20, &origin).unwrap();
    assert_eq!(origin.calls.load(Ordering::Relaxed) - before, 4096);
    assert!(blob.is_complete());
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize, usize),
    Fill(usize, usize),
    Flip(usize),
    Zero(usize, usize),
    CutData(usize),
    CutIndex(usize),
    Evict(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    const SIZE: usize = 500_000;
    let step = prop_oneof![
        6 => (0..SIZE, 1..40_000_usize).prop_map(|(at, len)| Step::Read(at, len)),
        2 => (0..SIZE, 1..200_000_usize).prop_map(|(at, len)| Step::Fill(at, len)),
        1 => (0..SIZE).prop_map(Step::Flip),
        1 => (0..SIZE, 1..20_000_usize).prop_map(|(at, len)| Step::Zero(at, len)),
        1 => (0..SIZE).prop_map(Step::CutData),
        1 => (0..6000_usize).prop_map(Step::CutIndex),
        1 => (0..600_000_u64).prop_map(Step::Evict),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to the files, reads give the blob's bytes.
    #[test]
    fn never_wrong_bytes(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin::new(500_000);
        let mut cache = open(dir.path(), ROOMY);
        let mut blob = super::tests::blob(&cache, "k", &origin);
        let stem = BlobKey::new("k").stem();
        let file = |extension: &str| {
            let path = dir.path().join(format!("blobs/{stem}.{extension}"));
            std::fs::File::options().write(true).open(path).unwrap()
        };
        for step in steps {
            match step {
                Step::Read(at, len) => {
                    let end = (at + len).min(500_000);
                    let mut buf = vec![0; end - at];
                    if blob.read_cached(&mut buf, at as u64) {
                        prop_assert_eq!(&buf[..], &origin.bytes[at..end]);
                    }
                    prop_assert_eq!(&read(&blob, at..end, &origin)[..], &origin.bytes[at..end]);
                }
                Step::Fill(at, len) => {
                    let end = (at + len).min(500_000) as u64;
                    blob.fill(at as u64..end, &origin).unwrap();
                    prop_assert!(blob.missing(at as u64..end).is_empty());
                }
                Step::Flip(at) => file("data").write_all_at(&[!origin.bytes[at]], at as u64).unwrap(),
                Step::Zero(at, len) => file("data").write_all_at(&vec![0; len], at as u64).unwrap(),
                Step::CutData(len) => file("data").set_len(len as u64).unwrap(),
                Step::CutIndex(len) => file("index").set_len(len as u64).unwrap(),
                Step::Evict(to) => { cache.gc(Some(to)).unwrap(); }
                Step::Reopen => {
                    cache = open(dir.path(), ROOMY);
                    blob = super::tests::blob(&cache, "k", &origin);
                }
            }
        }
    }
}
