//! The writing thread's part: blocks go to the file one after the other; a run of blocks that is
//! there already is taken back.
//!
//! Runs are compared as they are on disk, packed: what is equal there is equal unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::Xxh3;

use super::options::WriteOptions;
use super::pipeline::{Block, Purpose, Step};
use super::superblock;

/// Marks a block that is stored as it is.
const STORED: u32 = 1 << 24;

/// Bytes compared at once.
const PIECE: usize = 128 << 10;

/// The blocks of a file: where they start, and which words say their lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: u64,
    words: usize,
    count: usize,
    /// All of them together on disk.
    len: u64,
}

/// A fragment block on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    pub(super) start: u64,
    pub(super) word: u32,
}

/// All that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) file: File,
    /// Where the file system starts in the file.
    pub(super) base: u64,
    /// Where the next byte goes, counted from there.
    pub(super) position: u64,
    /// Where that begins which an access profile names.
    pub(super) profile: Option<u64>,
    pub(super) fragments: Vec<Fragment>,
    runs: Vec<Run>,
    words: Vec<u32>,
}

impl Written {
    /// Where run `number` starts and the words of its blocks.
    pub(super) fn run(&self, number: u32) -> Option<(u64, &[u32])> {
        let run = self.runs.get(usize::try_from(number).ok()?)?;
        Some((run.start, self.words.get(run.words..run.words + run.count)?))
    }
}

/// The file while blocks are written.
#[derive(Debug)]
pub(super) struct Output {
    written: Written,
    deduplicate: bool,
    /// The run that is being written.
    start: u64,
    first_word: usize,
    hash: Box<Hash>,
    /// Runs by the hash of their words and bytes.
    known: HashMap<u128, Vec<u32>>,
    pieces: Box<[[u8; PIECE]; 2]>,
}

/// [`Xxh3`] with a short debug form.
#[derive(Default)]
struct Hash(Xxh3);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl Output {
    pub(super) fn new(file: File, base: u64, options: &WriteOptions) -> io::Result<Self> {
        let compressor = superblock::compressor_options(options);
        let position = superblock::LEN + compressor.len() as u64;
        file.write_all_at(&compressor, base + superblock::LEN)?;
        let pieces = vec![[0; PIECE]; 2].into_boxed_slice();
        Ok(Self {
            written: Written {
                file,
                base,
                position,
                profile: None,
                fragments: Vec::new(),
                runs: Vec::new(),
                words: Vec::new(),
            },
            deduplicate: options.duplicates,
            start: position,
            first_word: 0,
            hash: Box::default(),
            known: HashMap::new(),
            pieces: pieces.try_into().map_err(|_| io::ErrorKind::OutOfMemory)?,
        })
    }

    /// Does what `step` says; a block comes back, since its buffers can be used again.
    pub(super) fn take(&mut self, step: Step) -> io::Result<Option<Block>> {
        match step {
            Step::Block(block) => {
                self.block(&block)?;
                Ok(Some(block))
            }
            Step::Holes(count) => {
                let count = usize::try_from(count).map_err(|_| io::ErrorKind::FileTooLarge)?;
                let words = &mut self.written.words;
                words.resize(words.len() + count, 0);
                Ok(None)
            }
            Step::EndOfRun => {
                self.end_of_run()?;
                Ok(None)
            }
            Step::Profile => {
                self.written.profile = Some(self.written.position);
                Ok(None)
            }
        }
    }

    fn block(&mut self, block: &Block) -> io::Result<()> {
        let (bytes, mark) = match block.len {
            Some(len) => (&block.packed[..len], 0),
            None => (&block.raw[..], STORED),
        };
        let written = &mut self.written;
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let start = written.position;
        written.file.write_all_at(bytes, written.base + start)?;
        written.position += u64::from(len);
        let word = len | mark;
        match block.purpose {
            Purpose::Data | Purpose::Packed | Purpose::Stored => {
                written.words.push(word);
                if self.deduplicate {
                    self.hash.0.update(bytes);
                }
            }
            Purpose::Fragment => {
                written.fragments.push(Fragment { start, word });
                // Fragments come between runs only.
                self.start = written.position;
            }
        }
        Ok(())
    }

    fn end_of_run(&mut self) -> io::Result<()> {
        let run = Run {
            start: self.start,
            words: self.first_word,
            count: self.written.words.len() - self.first_word,
            len: self.written.position - self.start,
        };
        let run = if self.deduplicate && run.len > 0 {
            self.unique(run)?
        } else {
            run
        };
        self.written.runs.push(run);
        self.start = self.written.position;
        self.first_word = self.written.words.len();
        Ok(())
    }

    /// The same run where it was written before, or `run` itself.
    fn unique(&mut self, run: Run) -> io::Result<Run> {
        for word in &self.written.words[run.words..] {
            self.hash.0.update(&word.to_le_bytes());
        }
        let key = self.hash.0.digest128();
        self.hash.0.reset();
        for candidate in self.known.get(&key).into_iter().flatten() {
            let known = usize::try_from(*candidate).unwrap_or(usize::MAX);
            let known = self.written.runs[known];
            if same(&self.written, &mut self.pieces, known, run)? {
                self.written.position = run.start;
                self.written.words.truncate(run.words);
                return Ok(known);
            }
        }
        let number = u32::try_from(self.written.runs.len()).unwrap_or(u32::MAX);
        self.known.entry(key).or_default().push(number);
        Ok(run)
    }

    /// All is written.
    pub(super) fn end(self) -> Written {
        self.written
    }
}

fn same(
    written: &Written,
    pieces: &mut [[u8; PIECE]; 2],
    one: Run,
    other: Run,
) -> io::Result<bool> {
    let words = |run: Run| &written.words[run.words..run.words + run.count];
    if one.len != other.len || words(one) != words(other) {
        return Ok(false);
    }
    let [left, right] = pieces;
    let mut at = 0;
    while at < one.len {
        let len = usize::try_from(one.len - at).map_or(PIECE, |len| len.min(PIECE));
        let (left, right) = (&mut left[..len], &mut right[..len]);
        let (file, base) = (&written.file, written.base + at);
        file.read_exact_at(left, base + one.start)?;
        file.read_exact_at(right, base + other.start)?;
        if left != right {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}
