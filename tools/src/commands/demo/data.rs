//! Generated data sets: lines of measurements that compress about as real ones do.

use std::io::{self, Read, Write};

/// An endless, reproducible text, cut at a length; one value per line.
#[derive(Debug)]
pub(super) struct DataSet {
    state: u64,
    line: u64,
    level: i64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

/// Lines are made in batches of about this size.
const BATCH_BYTES: usize = 64 << 10;

impl DataSet {
    /// The first `len` bytes of the stream that belongs to `seed`.
    pub(super) fn new(seed: u64, len: u64) -> Self {
        Self {
            state: seed,
            line: 0,
            level: 5000,
            left: len,
            buffer: Vec::with_capacity(BATCH_BYTES + 64),
            at: 0,
        }
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn refill(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.at = 0;
        while self.buffer.len() < BATCH_BYTES {
            let bits = self.random();
            self.line += 1;
            // A level that drifts, noise around it, and one of eight sensors.
            self.level += (bits & 31) as i64 - 15;
            let noise = (bits >> 8) & 1023;
            writeln!(
                self.buffer,
                "{},s{},{}.{noise:04}",
                self.line,
                (bits >> 24) & 7,
                self.level
            )?;
        }
        Ok(())
    }
}

impl Read for DataSet {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            self.refill()?;
        }
        let ready = &self.buffer[self.at..];
        let len = ready
            .len()
            .min(out.len())
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        out[..len].copy_from_slice(&ready[..len]);
        self.at += len;
        self.left -= len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reproducible_and_of_the_wanted_length() {
        let read = |seed| {
            let mut bytes = Vec::new();
            DataSet::new(seed, 200_001).read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(1).len(), 200_001);
        assert!(read(1) == read(1) && read(1) != read(2));
        assert!(read(1).starts_with(b"1,s"));
    }
}
