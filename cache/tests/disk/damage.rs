//! Files that somebody else spoils while they are read.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use skiff_cache::disk::Cache;

use crate::child::{Job, Running};
use crate::origin::{Origin, Random};

const SIZE: u64 = 700_001;
const BLOBS: u64 = 2;

/// Reads, opens again, lists, checks and evicts, in little memory.
pub(crate) fn survive(job: &Job) {
    let limit = Rlimit {
        current: Some(512 << 20),
        maximum: Some(512 << 20),
    };
    rustix::process::setrlimit(Resource::As, limit).unwrap();
    let mut random = Random(job.number);
    let origins: Vec<Origin> = (0..BLOBS).map(|number| Origin::new(number, SIZE)).collect();
    while !job.is_over() {
        let Ok(cache) = Cache::open(&job.cache_dir(), job.limits()) else {
            continue;
        };
        for origin in &origins {
            let Ok(blob) = cache.blob(&origin.key(), &origin.about()) else {
                continue;
            };
            for _ in 0..random.below(20) {
                let range = origin.range(100_000, &mut random);
                origin.read(&blob, &range, &mut random);
            }
            // Whatever they say; they must come to an end.
            let _any = match random.below(6) {
                0 => cache.list().map(|_| ()),
                1 => cache.gc(Some(random.below(SIZE))).map(|_| ()),
                2 => cache.gc(None).map(|_| ()),
                3 => {
                    blob.check();
                    let _any = (
                        blob.missing(0..u64::MAX),
                        blob.is_complete(),
                        blob.last_use(),
                    );
                    Ok(())
                }
                4 => {
                    if let Some(blob) = cache.find(&origin.key()) {
                        let _is_no_panic = blob.digest();
                    }
                    Ok(())
                }
                _ => cache.usage().map(|_| ()),
            };
        }
    }
}

fn write(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap();
    File::options()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .ok()
}

fn remove(path: &Path) {
    if std::fs::remove_file(path).is_err() {
        let _may_be_gone = std::fs::remove_dir_all(path);
    }
}

/// Any of the ways in which a file goes bad. Files come and go meanwhile: what fails is left.
fn spoil(dir: &Path, random: &mut Random) -> Option<()> {
    let stems: Vec<String> = (0..BLOBS)
        .map(|number| Origin::new(number, SIZE).key().stem())
        .collect();
    let extension = ["data", "index", "about"][usize::try_from(random.below(3)).unwrap()];
    let file = |which: usize, extension: &str| -> PathBuf {
        dir.join(format!("blobs/{}.{extension}", stems[which]))
    };
    let which = usize::try_from(random.below(BLOBS)).unwrap();
    let path = file(which, extension);
    let at = random.below(SIZE);
    // What is opened must not be a pipe that nobody reads.
    let content = |path: &Path, text: &[u8]| {
        remove(path);
        std::fs::write(path, text).ok()
    };
    let other = file(1 - which, extension);
    match random.below(16) {
        0..=2 => write(&path)?
            .write_all_at(&[random.next() as u8], at % (10 << 10))
            .ok(),
        3 => write(&path)?
            .write_all_at(&[0; 8192], at / 4096 * 4096)
            .ok(),
        4 => write(&path)?
            .write_all_at(&[0xFF; 4096], random.below(16) * 512)
            .ok(),
        5 => write(&path)?.set_len(at % (1 << random.below(20))).ok(),
        6 => {
            let flags =
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(write(&path)?, flags, at, 50_000).ok()
        }
        7 => {
            let is_file = std::fs::symlink_metadata(&other).ok()?.is_file();
            content(&path, &is_file.then(|| std::fs::read(&other).ok())??)
        }
        8 => std::fs::rename(&other, &path).ok(),
        9 => {
            remove(&path);
            symlink(file(1 - which, "data"), &path).ok()
        }
        10 => {
            remove(&path);
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).ok()
        }
        11 => {
            remove(&path);
            std::fs::DirBuilder::new().mode(0o700).create(&path).ok()
        }
        12 => {
            let huge = write(&file(which, "index"))?;
            huge.set_len(1 << 43).ok()?;
            huge.write_all_at(&(1_u64 << 63).to_le_bytes(), 8).ok()?;
            huge.write_all_at(&[7; 64], 1 << 42).ok()
        }
        13 => {
            let size = [u64::MAX, 1 << 63, i64::MAX as u64, 1 << 50, 0]
                [usize::try_from(random.below(5)).unwrap()];
            let key = Origin::new(which as u64, SIZE).key();
            let path = file(which, "about");
            let text = format!(
                r#"{{"key":"{}","name":"x","size":{size},"digest":null,"kind":"net","created":0}}"#,
                key.as_str()
            );
            content(&path, text.as_bytes())
        }
        14 => content(
            &path,
            br#"{"key":"blob 0","name":"x","size":-5,"digest":null,"kind":"net","created":-1}"#,
        ),
        _ => content(&path, &vec![b'['; 10 << 20]),
    }
}

#[test]
fn spoilt_while_read() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("survive", dir.path(), 0).with_quota(1 << 20);
    let mut running: Vec<Running> = (0..3)
        .map(|number| {
            Job {
                number,
                ..job.clone()
            }
            .start()
        })
        .collect();
    let mut random = Random(99);
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..1000 {
        let _as_far_as_it_goes = spoil(&job.cache_dir(), &mut random);
        for name in ["usage", "evict.lock"] {
            if random.below(40) == 0 {
                let _as_far_as_it_goes =
                    std::fs::write(job.cache_dir().join(name), [random.next() as u8; 8]);
            }
        }
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        for reader in &mut running {
            assert!(reader.0.try_wait().unwrap().is_none(), "a reader died");
        }
    }
    job.end();
    running.into_iter().for_each(Running::finish);
    // What is left works again.
    let cache = job.cache();
    cache.gc(None).unwrap();
    for number in 0..BLOBS {
        let origin = Origin::new(number, SIZE);
        let blob = origin.open(&cache);
        blob.fill(0..SIZE, &origin).unwrap();
        let mut buf = vec![0; usize::try_from(SIZE).unwrap()];
        blob.read_through(&mut buf, 0, &origin).unwrap();
        assert!(buf == origin.bytes(&(0..SIZE)));
        cache.remove(&origin.key()).unwrap();
    }
}
