//! Files with holes: old GNU headers and the maps of extended headers.

use super::header::BLOCK;
use super::numbers::number;

/// A piece of content between holes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hole {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Pieces of one member, checked: in order, apart, within the file, as long as the stored content.
pub(super) fn checked(map: &[Hole], size: u64, stored: u64) -> Result<Vec<Hole>, &'static str> {
    let mut end = 0_u64;
    let mut total = 0_u64;
    let mut pieces = Vec::with_capacity(map.len());
    for piece in map {
        let next = piece
            .offset
            .checked_add(piece.length)
            .filter(|&next| piece.offset >= end && next <= size)
            .ok_or("pieces of the file overlap or lie behind its end")?;
        total += piece.length;
        end = next;
        if piece.length > 0 {
            pieces.push(*piece);
        }
    }
    if total == stored {
        Ok(pieces)
    } else {
        Err("the pieces of the file are not as long as its content")
    }
}

/// The four pieces of a GNU header; the second value tells whether blocks with more follow.
pub(super) fn old_gnu(header: &[u8; BLOCK]) -> Option<(Vec<Hole>, bool, u64)> {
    let size = u64::try_from(number(&header[483..495])?).ok()?;
    Some((pieces(&header[386..482])?, header[482] != 0, size))
}

/// The 21 pieces of a block that follows a GNU header.
pub(super) fn more_gnu(block: &[u8; BLOCK]) -> Option<(Vec<Hole>, bool)> {
    Some((pieces(&block[..504])?, block[504] != 0))
}

fn pieces(table: &[u8]) -> Option<Vec<Hole>> {
    let mut pieces = Vec::new();
    for entry in table.chunks_exact(24) {
        // The first entry without numbers ends the table.
        if entry[0] == 0 {
            break;
        }
        pieces.push(Hole {
            offset: u64::try_from(number(&entry[..12])?).ok()?,
            length: u64::try_from(number(&entry[12..])?).ok()?,
        });
    }
    Some(pieces)
}
