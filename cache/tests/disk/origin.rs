//! Blobs whose every byte can be told, and reading them at random.

use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use skiff_cache::disk::{About, Blob, BlobKey, BlobKind, Cache, Fetch, GRAIN};

/// Blob number `number`; gives its bytes, and writes down what it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) number: u64,
    pub(crate) size: u64,
    pub(crate) pause: Duration,
    pub(crate) log: Option<PathBuf>,
}

impl Origin {
    pub(crate) fn new(number: u64, size: u64) -> Self {
        Self {
            number,
            size,
            pause: Duration::ZERO,
            log: None,
        }
    }

    pub(crate) fn key(&self) -> BlobKey {
        BlobKey::new(format!("blob {}", self.number))
    }

    pub(crate) fn about(&self) -> About {
        About {
            name: format!("test:{}", self.number),
            size: self.size,
            digest: None,
            kind: BlobKind::Net,
        }
    }

    pub(crate) fn open(&self, cache: &Cache) -> Blob {
        cache.blob(&self.key(), &self.about()).unwrap()
    }

    /// The right bytes: every grain differs from all others, of this blob and others.
    pub(crate) fn bytes(&self, range: &Range<u64>) -> Vec<u8> {
        let noise = noise();
        let first = range.start / GRAIN;
        let mut bytes = Vec::new();
        for grain in first..range.end.div_ceil(GRAIN) {
            bytes.extend_from_slice(&self.number.to_le_bytes());
            bytes.extend_from_slice(&grain.to_le_bytes());
            let at = usize::try_from((grain * 31 + self.number * 17) % GRAIN).unwrap();
            bytes.extend_from_slice(&noise[at..at + GRAIN as usize - 16]);
        }
        let skip = usize::try_from(range.start - first * GRAIN).unwrap();
        let len = usize::try_from(range.end - range.start).unwrap();
        bytes.drain(..skip);
        bytes.truncate(len);
        bytes
    }

    /// Reads a range in one of the two ways and compares.
    pub(crate) fn read(&self, blob: &Blob, range: &Range<u64>, random: &mut Random) {
        let mut buf = vec![0; usize::try_from(range.end - range.start).unwrap()];
        if random.below(3) == 0 && !blob.read_cached(&mut buf, range.start) {
            return;
        }
        blob.read_through(&mut buf, range.start, self).unwrap();
        assert!(buf == self.bytes(range), "wrong bytes in {range:?}");
    }

    /// Some range of up to `longest` bytes.
    pub(crate) fn range(&self, longest: u64, random: &mut Random) -> Range<u64> {
        let at = random.below(self.size);
        at..(at + 1 + random.below(longest)).min(self.size)
    }
}

impl Fetch for Origin {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(log) = &self.log {
            let mut file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(log)?;
            file.write_all(format!("{} {}\n", range.start, range.end).as_bytes())?;
        }
        std::thread::sleep(self.pause);
        self.bytes(&range).chunks(10_000).try_for_each(sink)
    }
}

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut random = Random(42);
        (0..GRAIN * 2).map(|_| random.next() as u8).collect()
    })
}

/// Numbers that are random enough, and the same every time.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
