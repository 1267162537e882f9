//! Inflating layers, in a thread of its own each, checked by digest on the way.
//!
//! ```text
//! compressed bytes ─► digest ─► gzip, zstd, xz ─► digest ─► queue of large pieces ─► the reader
//! └──────────────────────── thread ──────────────────────┘
//! ```
//! The queue is bounded: a layer that nobody reads yet is inflated as far as its look-ahead goes, and
//! no further. The end of the stream is only told once everything was read and the digests fit.

mod check;
mod codec;
mod queue;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::thread;

use super::limits::Limits;
use crate::remote::digest::Digest;
use check::Checked;
use codec::Decoder;
use queue::Sender;

pub use codec::Compression;

/// What is known of a layer before it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// Digest of the bytes as they come.
    pub digest: Option<Digest>,
    /// How many these are.
    pub size: Option<u64>,
    /// Digest of the inflated bytes.
    pub diff_id: Option<Digest>,
}

/// Inflates what `compressed` yields, whatever it is compressed with; it is looked at, not asked for.
/// A reader that comes to the end has had every byte checked against `expected`.
///
/// # Errors
/// When no thread can be started.
pub fn inflate(
    compressed: Box<dyn Read + Send>,
    expected: Expected,
    limits: Limits,
) -> io::Result<Box<dyn Read + Send>> {
    let (sender, queue) = queue::bounded(limits.look_ahead);
    thread::Builder::new()
        .name("inflate".into())
        .spawn(move || {
            let result = run(compressed, &expected, limits, &sender);
            sender.end(result);
        })?;
    Ok(Box::new(queue))
}

/// The thread: to the end, or until nobody listens.
fn run(
    compressed: Box<dyn Read + Send>,
    expected: &Expected,
    limits: Limits,
    sender: &Sender,
) -> io::Result<()> {
    let input = Checked::new(compressed, expected.digest.as_ref(), expected.size);
    let mut decoder = Decoder::new(input)?;
    let mut inflated = check::Hasher::of(expected.diff_id.as_ref());
    let mut total = 0_u64;
    loop {
        let mut piece = sender.piece();
        let got = fill(&mut decoder, &mut piece)?;
        if got == 0 {
            break;
        }
        piece.truncate(got);
        total += got as u64;
        within(limits, total, decoder.read())?;
        inflated.add(&piece);
        if !sender.send(piece) {
            return Ok(());
        }
    }
    decoder.into_input()?.finish()?;
    inflated.check("its files have")
}

/// Reads until `piece` is full or the stream ends.
fn fill(reader: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn within(limits: Limits, inflated: u64, read: u64) -> io::Result<()> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    if inflated > limits.unpacked {
        return refuse(format!(
            "it inflates to more than {} bytes",
            limits.unpacked
        ));
    }
    if inflated > limits.ratio_from && inflated / limits.ratio > read {
        return refuse(format!(
            "{read} bytes inflate to more than {inflated}: this is no layer, but a bomb"
        ));
    }
    Ok(())
}
