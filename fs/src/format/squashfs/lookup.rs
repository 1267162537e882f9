//! Lookup tables: records of one size, packed into metadata blocks whose positions stand in a
//! plain list. Read one record at a time, so that what a superblock claims costs no memory.

use crate::tree::TreeError;

use super::metadata::{BLOCK_LEN, Metadata, Place, Table, damaged};

/// Length of a block position in the list.
const POINTER_LEN: u64 = 8;

/// A table of `count` records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    what: &'static str,
    /// Where the list of block positions starts.
    list: u64,
    /// Behind the last byte the list may use.
    end: u64,
    count: u64,
}

impl Lookup {
    /// The list must fit between `list` and `end`; `None` when it does not.
    pub(super) fn new<const N: usize>(
        what: &'static str,
        list: u64,
        end: u64,
        count: u64,
    ) -> Option<Self> {
        let bytes = count
            .div_ceil(Self::per_block::<N>())
            .checked_mul(POINTER_LEN)?;
        (list.checked_add(bytes)? <= end).then_some(Self {
            what,
            list,
            end,
            count,
        })
    }

    const fn per_block<const N: usize>() -> u64 {
        match (BLOCK_LEN as u64).checked_div(N as u64) {
            Some(count) if count > 0 => count,
            _ => 1,
        }
    }

    /// Record `number`, counted from 0.
    pub(super) fn get<const N: usize>(
        &self,
        metadata: &Metadata,
        number: u64,
    ) -> Result<[u8; N], TreeError> {
        let broken = || damaged(self.what, self.list);
        if number >= self.count {
            return Err(broken());
        }
        let per_block = Self::per_block::<N>();
        let block = number.checked_div(per_block).ok_or_else(broken)?;
        let within = number.checked_rem(per_block).ok_or_else(broken)?;
        let pointer = block
            .checked_mul(POINTER_LEN)
            .and_then(|offset| self.list.checked_add(offset))
            .ok_or_else(broken)?;
        let position = metadata.pointer(self.what, pointer, self.end)?;
        // The blocks lie before the list that names them.
        let table = Table {
            what: self.what,
            start: 0,
            end: self.list,
        };
        let place = Place {
            block: position,
            offset: usize::try_from(within)
                .ok()
                .and_then(|within| within.checked_mul(N))
                .ok_or_else(broken)?,
        };
        metadata.cursor(table, place)?.array()
    }
}
