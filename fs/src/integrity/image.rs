//! A SIF as those see it who sign it or verify its signatures.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use super::Error;
use super::digest::{Algorithm, hash};
use crate::format::sif::{DataType, Descriptor, HEADER_LEN, Link, Sif, Slot, data_of};
use crate::source::{FileSource, Source};

/// Largest signature that is read; they have some kilobytes.
const SIGNATURE_MAX: u64 = 16 << 20;

/// How much data is read at a time.
const STEP: usize = 1 << 20;

/// An object: what its descriptor says and how that lies on disk.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// The descriptor.
    pub(super) descriptor: Descriptor,
    /// The same on disk.
    pub(super) slot: Slot,
}

/// A SIF, its table and the digests computed so far.
#[derive(Debug)]
pub struct SignedImage {
    source: Arc<dyn Source>,
    sif: Sif,
    header: [u8; HEADER_LEN],
    objects: Vec<Object>,
    digests: RefCell<BTreeMap<(u64, u64, Algorithm), Vec<u8>>>,
}

impl SignedImage {
    /// Reads header and table of `file`.
    ///
    /// # Errors
    /// [`Error::Sif`]
    pub fn open(file: File) -> Result<Self, Error> {
        Self::new(Arc::new(FileSource::new(file)?))
    }

    /// Reads header and table of `source`.
    ///
    /// # Errors
    /// [`Error::Sif`]
    pub fn new(source: Arc<dyn Source>) -> Result<Self, Error> {
        let (sif, slots) = Sif::read_with_slots(&*source)?;
        let mut header = [0; HEADER_LEN];
        source.read_exact_at(&mut header, 0)?;
        let pairs = sif.descriptors.iter().cloned().zip(slots);
        let mut objects: Vec<Object> = pairs
            .map(|(descriptor, slot)| Object { descriptor, slot })
            .collect();
        objects.sort_by_key(|object| object.descriptor.id);
        Ok(Self {
            source,
            sif,
            header,
            objects,
            digests: RefCell::default(),
        })
    }

    /// Header and table.
    pub fn sif(&self) -> &Sif {
        &self.sif
    }

    /// The header on disk.
    pub(super) fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    /// All objects by their numbers.
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The groups that objects belong to, in ascending order.
    pub fn groups(&self) -> Vec<u32> {
        let mut groups: Vec<u32> = self
            .objects
            .iter()
            .filter_map(|object| object.descriptor.group)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The objects of a group by their numbers.
    pub(super) fn group(&self, group: u32) -> impl Iterator<Item = &Object> {
        self.objects
            .iter()
            .filter(move |object| object.descriptor.group == Some(group))
    }

    /// The smallest number in a group, from which the others are counted.
    pub(super) fn first_of(&self, group: u32) -> Option<u32> {
        self.group(group).map(|object| object.descriptor.id).min()
    }

    /// The object with number `id`.
    ///
    /// # Errors
    /// [`Error::ObjectNotFound`]
    pub(super) fn object(&self, id: u32) -> Result<&Object, Error> {
        self.objects
            .iter()
            .find(|object| object.descriptor.id == id)
            .ok_or(Error::ObjectNotFound)
    }

    /// The signatures that refer to `link`, with their content.
    pub(super) fn signatures(&self, link: Link) -> Result<Vec<(&Object, Vec<u8>)>, Error> {
        let all = self.objects.iter().filter(|object| {
            object.descriptor.data_type == DataType::Signature && object.descriptor.link == link
        });
        all.map(|object| Ok((object, self.content(object)?)))
            .collect()
    }

    fn content(&self, object: &Object) -> Result<Vec<u8>, Error> {
        let size = usize::try_from(object.descriptor.size)
            .ok()
            .filter(|_| object.descriptor.size <= SIGNATURE_MAX)
            .ok_or(Error::Format)?;
        let mut content = vec![0; size];
        let data = data_of(Arc::clone(&self.source), &object.descriptor)?;
        data.read_exact_at(&mut content, 0)?;
        Ok(content)
    }

    /// Digest of an object's data.
    pub(super) fn digest_of(
        &self,
        object: &Object,
        algorithm: Algorithm,
    ) -> Result<Vec<u8>, Error> {
        let descriptor = &object.descriptor;
        let key = (descriptor.offset, descriptor.size, algorithm);
        if let Some(known) = self.digests.borrow().get(&key) {
            return Ok(known.clone());
        }
        let digest = hash(algorithm, &mut |take| self.feed(object, take))?;
        self.digests.borrow_mut().insert(key, digest.clone());
        Ok(digest)
    }

    /// Gives all data of an object to `take`, piece by piece.
    pub(super) fn feed(&self, object: &Object, take: &mut dyn FnMut(&[u8])) -> std::io::Result<()> {
        let data = data_of(Arc::clone(&self.source), &object.descriptor)?;
        let mut buffer = vec![0; STEP];
        let mut at: u64 = 0;
        while at < object.descriptor.size {
            let count = data.read_at(&mut buffer, at)?;
            let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            };
            take(piece);
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }
}
