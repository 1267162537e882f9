//! A bounded cache of decoded things in memory, shared by all threads.
//!
//! Keys are spread over shards, each behind its own lock that is held for a table operation and
//! never while a value is made. All shards draw on one byte budget: whoever exceeds it lets a
//! common hand go round the shards, and each shard gives up what was not asked for since the hand
//! passed last (CLOCK). Many threads that miss the same key make its value once: the first takes a
//! [`flight`], the others wait for it to land. If it fails (or panics) the waiters try themselves,
//! one after the other, because errors need not be cloneable.
//!
//! A value must not be made from the same key of the same cache: that would wait for itself.

mod flight;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flight::Flight;
use shard::{Found, Hashed, Shard};

/// Locks are taken by shard; with this many, 64 threads rarely meet at one.
const SHARDS: usize = 32;

/// What an entry costs beside its value: key, slot, place in the ring, allocation headers.
const ENTRY_OVERHEAD: usize = 128;

/// The share of the byte budget that a value takes.
pub trait Weigh {
    /// Bytes of memory that the value keeps alive.
    fn weight(&self) -> usize;
}

impl Weigh for Arc<[u8]> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// Counters since the cache was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryStats {
    /// Requests answered with a value that was there, or that another thread was just making.
    pub hits: u64,
    /// Requests that had to make the value.
    pub misses: u64,
    /// Values given up to stay within the budget.
    pub evictions: u64,
    /// Bytes held now.
    pub used_bytes: usize,
}

/// Values by key within a byte budget; see the [module](self) for how it behaves.
pub struct MemoryCache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    budget_bytes: usize,
    used_bytes: AtomicUsize,
    hand: AtomicUsize,
}

impl<K, V> MemoryCache<K, V>
where
    K: Copy + Eq + Hash,
    V: Clone + Weigh,
{
    /// An empty cache that holds up to `budget_bytes`.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            budget_bytes,
            used_bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    /// The byte budget.
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// The value of `key` if it is there; waits for nobody.
    pub fn get(&self, key: K) -> Option<V> {
        let key = self.hashed(key);
        match self.lock(key.shard()).find(&key) {
            Found::Value(value) => Some(value),
            Found::Flight(_) | Found::Nothing => None,
        }
    }

    /// Puts `value` under `key` unless the key has a value, or a thread that is making it.
    pub fn insert(&self, key: K, value: V) {
        let weight = value.weight().saturating_add(ENTRY_OVERHEAD);
        if weight > self.budget_bytes {
            return;
        }
        let key = self.hashed(key);
        if self.lock(key.shard()).insert(key, value, weight) {
            self.used_bytes.fetch_add(weight, Ordering::Relaxed);
            self.trim();
        }
    }

    /// The value of `key`; when it is absent `make` is called, by one thread at a time.
    ///
    /// # Errors
    /// What `make` returns. Nothing is remembered of a failure: the next request tries again.
    pub fn get_or_try_insert_with<E>(
        &self,
        key: K,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let key = self.hashed(key);
        let flight = loop {
            let other = match self.lock(key.shard()).find_or_begin(key) {
                Ok(own) => break own,
                Err(Found::Value(value)) => return Ok(value),
                Err(Found::Flight(other)) => other,
                Err(Found::Nothing) => continue,
            };
            if let Some(value) = other.wait() {
                return Ok(value);
            }
        };
        let ticket = Ticket {
            cache: self,
            key,
            flight,
        };
        // An error or a panic here drops the ticket, which wakes the waiters empty-handed.
        let value = make()?;
        ticket.land(&value);
        Ok(value)
    }

    /// Counters, added up over the shards one after the other.
    pub fn stats(&self) -> MemoryStats {
        let mut stats = MemoryStats {
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            ..MemoryStats::default()
        };
        for shard in 0..self.shards.len() {
            let shard = self.lock(shard);
            stats.hits += shard.hits;
            stats.misses += shard.misses;
            stats.evictions += shard.evictions;
        }
        stats
    }

    fn hashed(&self, key: K) -> Hashed<K> {
        Hashed {
            hash: self.hasher.hash_one(key),
            key,
        }
    }

    /// A panic can poison a lock only inside the table operations below it, none of which leaves
    /// the table half changed; going on is better than to fail every later read of the image.
    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard<K, V>> {
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up values until the budget is kept. Two rounds over the shards without a find mean
    /// that other threads are evicting what is left; they also see to the rest.
    fn trim(&self) {
        let mut idle = 0;
        while self.used_bytes.load(Ordering::Relaxed) > self.budget_bytes
            && idle < 2 * self.shards.len()
        {
            let shard = self.hand.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let evicted = self.lock(shard).evict_one();
            match evicted {
                Some((value, weight)) => {
                    self.used_bytes.fetch_sub(weight, Ordering::Relaxed);
                    // Freed here, after the lock: unmapping a large buffer takes its time.
                    drop(value);
                    idle = 0;
                }
                None => idle += 1,
            }
        }
    }
}

impl<K, V> fmt::Debug for MemoryCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("budget_bytes", &self.budget_bytes)
            .field("used_bytes", &self.used_bytes)
            .finish_non_exhaustive()
    }
}

/// The duty of the thread that makes a value: to land it, or else to wake who waits for it.
struct Ticket<'a, K, V>
where
    K: Copy + Eq + Hash,
    V: Clone + Weigh,
{
    cache: &'a MemoryCache<K, V>,
    key: Hashed<K>,
    flight: Arc<Flight<V>>,
}

impl<K, V> Ticket<'_, K, V>
where
    K: Copy + Eq + Hash,
    V: Clone + Weigh,
{
    fn land(self, value: &V) {
        let weight = value.weight().saturating_add(ENTRY_OVERHEAD);
        if weight <= self.cache.budget_bytes {
            self.cache
                .lock(self.key.shard())
                .land(self.key, value.clone(), weight);
            self.cache.used_bytes.fetch_add(weight, Ordering::Relaxed);
        }
        self.flight.land(value.clone());
        self.cache.trim();
    }
}

impl<K, V> Drop for Ticket<'_, K, V>
where
    K: Copy + Eq + Hash,
    V: Clone + Weigh,
{
    fn drop(&mut self) {
        // After a landing both find nothing to do: the slot holds a value, the flight is over.
        self.cache
            .lock(self.key.shard())
            .abandon(&self.key, &self.flight);
        self.flight.abandon();
    }
}
