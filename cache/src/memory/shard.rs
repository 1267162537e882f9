//! The part of the cache behind one lock: a table of slots and a ring for the clock hand.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use super::flight::Flight;

/// So many recently used values get their second chance before one is given up regardless:
/// bounds the time under the lock, at the price of now and then evicting a used value.
const SECOND_CHANCES: usize = 32;

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
    slots: HashMap<K, Slot<V>>,
    ring: VecDeque<K>,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
}

impl<K, V> Default for Shard<K, V> {
    fn default() -> Self {
        Self {
            slots: HashMap::new(),
            ring: VecDeque::new(),
            hits: 0,
            misses: 0,
            evictions: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Shard<K, V> {
    /// What is under `key`, marked as used.
    pub(super) fn find(&mut self, key: &K) -> Found<V> {
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
    pub(super) fn find_or_begin(&mut self, key: K) -> Result<Arc<Flight<V>>, Found<V>> {
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
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) -> bool {
        if self.slots.contains_key(&key) {
            return false;
        }
        self.land(key, value, weight);
        true
    }

    /// Turns the flight under `key` into a value.
    pub(super) fn land(&mut self, key: K, value: V, weight: usize) {
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
    pub(super) fn abandon(&mut self, key: &K, flight: &Arc<Flight<V>>) {
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
