//! A blob whose bytes are checked against its list before anybody sees them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use skiff_cache::disk::Fetch;

use super::CHUNK;
use super::list::ChunkDigests;

/// Fetches whole chunks and passes on what was wanted of them, when they fit.
pub struct Verified {
    blob: Arc<dyn Fetch>,
    digests: Arc<ChunkDigests>,
}

impl Verified {
    /// Holds `blob` to `digests`.
    pub fn new(blob: Arc<dyn Fetch>, digests: Arc<ChunkDigests>) -> Self {
        Self { blob, digests }
    }

    /// Passes on what is wanted of the chunks from `next` on. A chunk that does not fit ends it without
    /// an error, `next` being that chunk.
    fn pass(
        &self,
        next: &mut u64,
        wanted: &Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = (wanted.end.div_ceil(CHUNK) * CHUNK).min(self.digests.size());
        let start = *next * CHUNK;
        let mut gathered: Vec<u8> = Vec::new();
        let mut misfit = false;
        let passed = self.blob.fetch(start..end, &mut |piece| {
            let mut rest = piece;
            while !rest.is_empty() {
                let first = *next * CHUNK;
                let full =
                    usize::try_from(CHUNK.min(end.saturating_sub(first))).unwrap_or(usize::MAX);
                let room = full.saturating_sub(gathered.len());
                let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
                gathered.extend_from_slice(now);
                rest = later;
                if gathered.len() < full {
                    continue;
                }
                misfit = !self.digests.fits(*next, &gathered)?;
                if misfit {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let from =
                    usize::try_from(wanted.start.saturating_sub(first)).unwrap_or(usize::MAX);
                let to = usize::try_from(wanted.end - first)
                    .unwrap_or(usize::MAX)
                    .min(full);
                sink(gathered.get(from..to).unwrap_or_default())?;
                gathered.clear();
                *next += 1;
            }
            Ok(())
        });
        if misfit { Ok(()) } else { passed }
    }
}

impl Fetch for Verified {
    fn fetch(
        &self,
        range: Range<u64>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if range.end > self.digests.size() || range.start > range.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut next = range.start / CHUNK;
        let end = range.end.div_ceil(CHUNK);
        if range.is_empty() {
            return Ok(());
        }
        // Before the blob's bytes flow: a request that waits for another one, both being counted
        // against the same limit, could wait for itself.
        self.digests.prepare(next..end)?;
        let mut misfit = None;
        while next < end {
            self.pass(&mut next, &range, sink)?;
            if next < end {
                // A fault on the way passes; wrong bytes on the server stay wrong.
                if misfit == Some(next) {
                    let first = next * CHUNK;
                    let text =
                        format!("the chunk at byte {first} does not fit its published digest");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                misfit = Some(next);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Verified")
            .field("digests", &self.digests)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::super::super::digest::Digest;
    use super::super::format::Writer;
    use super::super::list::read;
    use super::*;

    /// Bytes in memory, of which one may be wrong, always or the first time.
    struct Memory {
        bytes: Vec<u8>,
        wrong: Mutex<Option<(usize, bool)>>,
        reads: AtomicUsize,
    }

    impl Memory {
        fn new(bytes: Vec<u8>) -> Self {
            Self {
                bytes,
                wrong: Mutex::new(None),
                reads: AtomicUsize::new(0),
            }
        }
    }

    impl Fetch for Memory {
        fn fetch(
            &self,
            range: Range<u64>,
            sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        ) -> io::Result<()> {
            self.reads.fetch_add(1, SeqCst);
            let range = range.start as usize..range.end as usize;
            let mut bytes = self.bytes[range.clone()].to_vec();
            let mut wrong = self.wrong.lock().unwrap();
            if let Some((at, lasting)) = *wrong
                && range.contains(&at)
            {
                bytes[at - range.start] ^= 1;
                if !lasting {
                    *wrong = None;
                }
            }
            drop(wrong);
            bytes.chunks(10_000).try_for_each(sink)
        }
    }

    const SIZE: usize = 9_000_000;

    fn setup() -> (Vec<u8>, Arc<Memory>, Arc<Memory>, Verified) {
        let bytes: Vec<u8> = (0..SIZE as u32)
            .map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        let mut writer = Writer::new();
        writer.update(&bytes);
        let (list, top) = writer.finish().unwrap();
        let len = list.len() as u64;
        let (list, blob) = (
            Arc::new(Memory::new(list)),
            Arc::new(Memory::new(bytes.clone())),
        );
        let source = Arc::clone(&list) as Arc<dyn Fetch>;
        let digests =
            ChunkDigests::open(&*list, source, len, &top, SIZE as u64, &Digest::of(&bytes))
                .unwrap();
        let verified = Verified::new(Arc::clone(&blob) as Arc<dyn Fetch>, Arc::new(digests));
        (bytes, list, blob, verified)
    }

    #[test]
    fn good_bytes_pass_in_order_and_pages_are_read_once() {
        let (bytes, list, blob, verified) = setup();
        for range in [
            0..1,
            65_535..65_537,
            5..5,
            100_000..300_000,
            8_999_999..9_000_000,
            0..SIZE,
        ] {
            let wanted = range.start as u64..range.end as u64;
            assert_eq!(read(&verified, wanted).unwrap(), bytes[range]);
        }
        assert_eq!(list.reads.load(SeqCst), 3);
        assert_eq!(blob.reads.load(SeqCst), 5);
        assert!(read(&verified, 0..SIZE as u64 + 1).is_err());
    }

    #[test]
    fn wrong_bytes_are_fetched_again_and_never_passed_on() {
        let (bytes, _, blob, verified) = setup();
        *blob.wrong.lock().unwrap() = Some((200_000, false));
        assert_eq!(
            read(&verified, 100_000..300_000).unwrap(),
            bytes[100_000..300_000]
        );
        *blob.wrong.lock().unwrap() = Some((200_000, true));
        let mut got = Vec::new();
        let error = verified
            .fetch(100_000..300_000, &mut |piece| {
                got.extend_from_slice(piece);
                Ok(())
            })
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(got, bytes[100_000..196_608]);
        // Others are not concerned.
        assert_eq!(
            read(&verified, 300_000..400_000).unwrap(),
            bytes[300_000..400_000]
        );
    }

    #[test]
    fn a_damaged_page_is_an_error() {
        let (_, list, _, verified) = setup();
        *list.wrong.lock().unwrap() = Some((500, true));
        assert_eq!(
            read(&verified, 0..10).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
