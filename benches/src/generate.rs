//! Deterministic data that compresses like the real thing.
//!
//! Text is drawn from a word list with falling frequency, binary data mimics instruction streams
//! and measured values. Mixed as in [`fill_mixed`], gzip -9 shrinks it to about a third, as it does
//! a Python tree with its shared objects.

use std::io::{self, Write};

/// splitmix64: tiny, fast, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream that depends on `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit` (which is not 0).
    pub const fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A number below `limit`, small ones far more often than large ones.
    pub fn skewed(&mut self, limit: usize) -> usize {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((unit * unit * unit) * limit as f64) as usize
    }
}

const SYLLABLES: [&str; 24] = [
    "ar", "ten", "sor", "mod", "ule", "con", "text", "val", "ue", "in", "dex", "ker", "nel", "ba",
    "tch", "gra", "di", "ent", "re", "quest", "op", "tion", "ma", "trix",
];

/// A vocabulary of made-up words.
#[derive(Clone, Debug)]
pub struct Words(Vec<String>);

impl Words {
    /// `count` words, the same for the same count.
    pub fn new(count: usize) -> Self {
        let mut random = Random::new(17);
        Self(
            (0..count)
                .map(|_| {
                    (0..1 + random.below(3))
                        .map(|_| SYLLABLES[random.below(SYLLABLES.len())])
                        .collect()
                })
                .collect(),
        )
    }

    /// One of them, common ones first.
    pub fn pick(&self, random: &mut Random) -> &str {
        &self.0[random.skewed(self.0.len())]
    }

    /// Words separated by spaces, at least `len` bytes.
    pub fn sentence(&self, random: &mut Random, len: usize) -> String {
        let mut out = String::with_capacity(len + 16);
        while out.len() < len {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(self.pick(random));
        }
        out
    }
}

/// Appends about `len` bytes of lines of text.
pub fn text(out: &mut Vec<u8>, len: usize, words: &Words, random: &mut Random) {
    let end = out.len() + len;
    while out.len() < end {
        out.extend_from_slice(words.sentence(random, 60).as_bytes());
        out.push(if random.below(8) == 0 { b'.' } else { b',' });
        out.push(b'\n');
    }
}

/// Appends about `len` bytes that look like machine code: few opcodes, skewed operands.
pub fn code(out: &mut Vec<u8>, len: usize, random: &mut Random) {
    let end = out.len() + len;
    while out.len() < end {
        let opcode = random.skewed(160) as u8;
        out.extend_from_slice(&[0x48, opcode, random.skewed(256) as u8]);
        match opcode % 4 {
            0 => out.extend_from_slice(&(random.skewed(1 << 14) as u32).to_le_bytes()),
            1 => out.push(random.skewed(64) as u8),
            _ => {}
        }
    }
}

/// Appends about `len` bytes of doubles that drift slowly, rounded as measured values are.
pub fn values(out: &mut Vec<u8>, len: usize, random: &mut Random) {
    let end = out.len() + len;
    let mut level = random.below(1000) as i64;
    while out.len() < end {
        level += random.below(17) as i64 - 8;
        out.extend_from_slice(&(level as f64 / 16.0).to_le_bytes());
    }
}

/// Writes exactly `len` bytes of text, code and values in turns, each stretch 16–64 KiB long.
///
/// # Errors
/// What `out` reports.
pub fn fill_mixed(out: &mut dyn Write, len: u64, seed: u64) -> io::Result<()> {
    let words = Words::new(4000);
    let mut random = Random::new(seed);
    let mut piece = Vec::with_capacity(80 << 10);
    let mut left = len;
    while left > 0 {
        piece.clear();
        let stretch = (16 + random.below(48)) << 10;
        match random.below(4) {
            0 => text(&mut piece, stretch, &words, &mut random),
            1 => values(&mut piece, stretch, &mut random),
            _ => code(&mut piece, stretch, &mut random),
        }
        let take = left.min(piece.len() as u64);
        out.write_all(&piece[..take as usize])?;
        left -= take;
    }
    Ok(())
}

/// Source of one Python module of about `len` bytes: half documentation, as packages have it.
pub fn python_module(len: usize, words: &Words, random: &mut Random) -> String {
    let mut out = format!(
        "\"\"\"{}.\n\n{}\n\"\"\"\n\n",
        words.sentence(random, 40),
        words.sentence(random, len / 5)
    );
    let mut number = 0;
    while out.len() < len {
        let (a, b) = (words.pick(random).to_owned(), words.pick(random).to_owned());
        let (doc, remark) = (words.sentence(random, 220), words.sentence(random, 60));
        let (first, second) = (random.below(1000), random.below(100));
        out.push_str(&format!(
            "def {a}_{b}_{number}({a}_in, default=None):\n    \"\"\"{doc}\n    \"\"\"\n    # {remark}\n    \
             if default is None:\n        return {first}\n    return default + {second}\n\n\n"
        ));
        number += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_bytes() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        fill_mixed(&mut a, 300_000, 5).unwrap();
        fill_mixed(&mut b, 300_000, 5).unwrap();
        assert_eq!(a.len(), 300_000);
        assert!(a == b);
    }

    #[test]
    fn skewed_stays_below_its_limit() {
        let mut random = Random::new(1);
        assert!((0..10_000).all(|_| random.skewed(7) < 7));
    }
}
