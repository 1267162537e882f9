//! Owners: inodes hold places in a table of the user and group ids that occur.

use std::sync::OnceLock;

use crate::tree::TreeError;

use super::lookup::Lookup;
use super::metadata::Metadata;

/// The id table, taken into memory when first needed: it has at most 65,535 ids, and every
/// question for attributes asks for two.
#[derive(Debug)]
pub(super) struct Ids {
    table: Lookup,
    count: u16,
    /// Nothing when a part of the table is damaged; then each id is looked up by itself, so that
    /// the others stay readable.
    list: OnceLock<Option<Box<[u32]>>>,
}

impl Ids {
    pub(super) fn new(table: Lookup, count: u16) -> Self {
        Self {
            table,
            count,
            list: OnceLock::new(),
        }
    }

    /// The id at place `number`.
    pub(super) fn get(&self, metadata: &Metadata, number: u16) -> Result<u32, TreeError> {
        let list = self.list.get_or_init(|| {
            (0..self.count)
                .map(|number| self.read(metadata, number).ok())
                .collect()
        });
        let known = list
            .as_deref()
            .and_then(|list| list.get(usize::from(number)));
        known.map_or_else(|| self.read(metadata, number), |id| Ok(*id))
    }

    fn read(&self, metadata: &Metadata, number: u16) -> Result<u32, TreeError> {
        self.table
            .get(metadata, u64::from(number))
            .map(u32::from_le_bytes)
    }
}
