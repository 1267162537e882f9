use std::path::Path;

use skiff_cache::disk::{About, BlobKey, BlobKind, Cache, Fetch, Limits};

use super::*;

const SIZE: u64 = 256 << 10;
/// sha256 of as many zeros.
const ZEROS: &str = "sha256:8a39d2abd3999ab73c34db2476849cddf303ce389b35826850f9a700589b4a90";

/// One byte again and again.
#[derive(Debug)]
struct Filler(u8);

impl Fetch for Filler {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        sink(&vec![self.0; (range.end - range.start) as usize])
    }
}

impl Origin for Filler {
    fn figures(&self) -> OriginFigures {
        OriginFigures::default()
    }
}

/// As another process has it.
fn source(folder: &Path, byte: u8) -> (Cache, Arc<CachedSource>) {
    let limits = Limits {
        quota: Some(1 << 30),
        keep_free: Some(0),
    };
    let cache = Cache::open(folder, limits).unwrap();
    let about = About {
        name: "image".to_owned(),
        size: SIZE,
        digest: Some(ZEROS.to_owned()),
        kind: BlobKind::Oras,
    };
    let blob = cache.blob(&BlobKey::new("image"), &about).unwrap();
    let source = CachedSource::new(SIZE, None, Some(blob), Arc::new(Filler(byte)));
    (cache, source)
}

/// It may have been said by a process that saw the part before it was evicted.
#[test]
fn what_another_process_said_is_taken_back_when_a_part_is_fetched_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cache");
    // Opened before anything was said.
    let (_, late) = source(&folder, 1);
    let (cache, first) = source(&folder, 0);
    first.fill(0..SIZE).unwrap();
    let state = || cache.find(&BlobKey::new("image")).unwrap().noted_state();
    assert_eq!(state(), State::Verified);
    cache.gc(Some(0)).unwrap();
    // As an eviction leaves it that began before.
    first.blob().unwrap().set_state(State::Verified);
    assert_eq!(state(), State::Verified);
    let mut buf = [0; 5000];
    late.read_at(&mut buf, 0).unwrap();
    assert_eq!(state(), State::Unverified);
    // The whole is compared again, and is not what it should be.
    assert!(late.fill(0..SIZE).is_err());
}
