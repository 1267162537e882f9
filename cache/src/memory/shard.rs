//! The part of the cache behind one lock: a table of slots and a ring for the clock hand.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use super::SHARDS;
use super::flight::Flight;

/// So many recently used values get their second chance before one is given up regardless:
/// bounds the time under the lock, at the price of now and then evicting a used value.
const SECOND_CHANCES: usize = 32;

/// A key with its hash, which is computed once for the choice of the shard and its table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

impl<K> Hashed<K> {
    /// The shard of the key. By bits that the table does not look at: it takes the lowest for the
    /// bucket and the highest for a first comparison.
    pub(super) fn shard(&self) -> usize {
        // The remainder is below SHARDS, so it fits whatever usize is.
        ((self.hash >> 32) % SHARDS as u64) as usize
    }
}

impl<K: PartialEq> PartialEq for Hashed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Hands on the hash that a [`Hashed`] brings.
#[derive(Default)]
struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "only hashes are passed through: {bytes:?}");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
enum Slot<V> {
    Ready {
        value: V,
        weight: usize,
        /// Asked for since the hand passed.
        recent: bool,
    },
    Making(Arc<Flight<V>>),
}

/// What a key leads to.
pub(super) enum Found<V> {
    Value(V),
    Flight(Arc<Flight<V>>),
    Nothing,
}

/// Invariant: `ring` holds exactly the keys whose slot is ready, each once.
#[derive(Debug)]
pub(super) struct Shard<K, V> {
    slots: HashMap<Hashed<K>, Slot<V>, BuildHasherDefault<PassThrough>>,
    ring: VecDeque<Hashed<K>>,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
}

impl<K, V> Default for Shard<K, V> {
    fn default() -> Self {
        Self {
            slots: HashMap::default(),
            ring: VecDeque::new(),
            hits: 0,
            misses: 0,
            evictions: 0,
        }
    }
}

impl<K: Copy + Eq, V: Clone> Shard<K, V> {
    /// What is under `key`, marked as used.
    pub(super) fn find(&mut self, key: &Hashed<K>) -> Found<V> {
        match self.slots.get_mut(key) {
            Some(Slot::Ready { value, recent, .. }) => {
                *recent = true;
                self.hits += 1;
                Found::Value(value.clone())
            }
            Some(Slot::Making(flight)) => Found::Flight(Arc::clone(flight)),
            None => Found::Nothing,
        }
    }

    /// A flight of the caller's own when there is nothing under `key`, else what there is.
    pub(super) fn find_or_begin(&mut self, key: Hashed<K>) -> Result<Arc<Flight<V>>, Found<V>> {
        match self.find(&key) {
            Found::Nothing => {
                let flight = Arc::new(Flight::new());
                self.slots.insert(key, Slot::Making(Arc::clone(&flight)));
                self.misses += 1;
                Ok(flight)
            }
            Found::Flight(flight) => {
                self.hits += 1;
                Err(Found::Flight(flight))
            }
            value @ Found::Value(_) => Err(value),
        }
    }

    /// Puts a value that nobody announced; false when the key is taken.
    pub(super) fn insert(&mut self, key: Hashed<K>, value: V, weight: usize) -> bool {
        if self.slots.contains_key(&key) {
            return false;
        }
        self.land(key, value, weight);
        true
    }

    /// Turns the flight under `key` into a value.
    pub(super) fn land(&mut self, key: Hashed<K>, value: V, weight: usize) {
        self.slots.insert(
            key,
            Slot::Ready {
                value,
                weight,
                recent: false,
            },
        );
        self.ring.push_back(key);
    }

    /// Takes `flight` off the table if it is still there.
    pub(super) fn abandon(&mut self, key: &Hashed<K>, flight: &Arc<Flight<V>>) {
        if let Some(Slot::Making(present)) = self.slots.get(key)
            && Arc::ptr_eq(present, flight)
        {
            self.slots.remove(key);
        }
    }

    /// Gives up the value the hand finds first: its value and weight. `None` when everything here
    /// was used since the last visit (and is now on its second chance): the hand goes on then,
    /// or shards with few values would lose used ones while others keep unused ones.
    pub(super) fn evict_one(&mut self) -> Option<(V, usize)> {
        for turn in 0..self.ring.len() {
            let key = self.ring.pop_front()?;
            match self.slots.get_mut(&key) {
                Some(Slot::Ready { recent, .. }) if *recent && turn < SECOND_CHANCES => {
                    *recent = false;
                    self.ring.push_back(key);
                }
                Some(Slot::Ready { .. }) => {
                    if let Some(Slot::Ready { value, weight, .. }) = self.slots.remove(&key) {
                        self.evictions += 1;
                        return Some((value, weight));
                    }
                }
                Some(Slot::Making(_)) | None => {
                    debug_assert!(false, "the ring names a key without a value");
                }
            }
        }
        None
    }
}
