//! Content into a file, with holes where there are only zeros.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Read at a time.
const STEP: usize = 256 << 10;
/// Holes are whole blocks of file systems.
const BLOCK: usize = 4096;

pub(super) enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Writes `size` bytes; how many of them are not in holes.
pub(super) fn write(
    file: &File,
    size: u64,
    content: &mut dyn Read,
    buffer: &mut Vec<u8>,
) -> Result<u64, Failure> {
    buffer.resize(STEP, 0);
    let mut at = 0_u64;
    let mut written = 0_u64;
    while at < size {
        let most = usize::try_from(size - at).unwrap_or(STEP).min(STEP);
        let piece = &mut buffer[..most];
        content.read_exact(piece).map_err(Failure::Read)?;
        written += write_piece(file, at, piece).map_err(Failure::Write)?;
        at += most as u64;
    }
    if written < size {
        file.set_len(size).map_err(Failure::Write)?;
    }
    Ok(written)
}

/// Writes all of a file; how many bytes are not in holes.
pub(super) fn write_whole(file: &File, bytes: &[u8]) -> io::Result<u64> {
    let written = write_piece(file, 0, bytes)?;
    if written < bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    Ok(written)
}

/// Writes the blocks that are not all zeros, as few times as possible.
fn write_piece(file: &File, at: u64, piece: &[u8]) -> io::Result<u64> {
    let mut written = 0;
    let mut start = 0;
    while start < piece.len() {
        let is_hole = |block: &[u8]| block.len() == BLOCK && block.iter().all(|&byte| byte == 0);
        let skipped = piece[start..]
            .chunks(BLOCK)
            .take_while(|block| is_hole(block))
            .count();
        start += skipped * BLOCK;
        let length: usize = piece[start..]
            .chunks(BLOCK)
            .take_while(|block| !is_hole(block))
            .map(<[u8]>::len)
            .sum();
        file.write_all_at(&piece[start..start + length], at + start as u64)?;
        written += length as u64;
        start += length;
    }
    Ok(written)
}
