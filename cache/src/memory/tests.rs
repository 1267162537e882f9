use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::{ENTRY_OVERHEAD, MemoryCache};

type Bytes = Arc<[u8]>;

fn bytes(len: usize, fill: u8) -> Bytes {
    vec![fill; len].into()
}

fn value(cache: &MemoryCache<u64, Bytes>, key: u64, len: usize) -> Bytes {
    cache
        .get_or_try_insert_with::<()>(key, || Ok(bytes(len, key as u8)))
        .unwrap()
}

#[test]
fn a_value_is_made_once() {
    let cache = MemoryCache::new(1 << 20);
    assert!(cache.get(7).is_none());
    let first = value(&cache, 7, 10);
    let again = cache
        .get_or_try_insert_with::<()>(7, || unreachable!("it is there"))
        .unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert!(Arc::ptr_eq(&first, &cache.get(7).unwrap()));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.evictions), (2, 1, 0));
    assert_eq!(stats.used_bytes, 10 + ENTRY_OVERHEAD);
}

#[test]
fn a_failure_is_not_remembered() {
    let cache: MemoryCache<u64, Bytes> = MemoryCache::new(1 << 20);
    assert_eq!(cache.get_or_try_insert_with(1, || Err("bad")), Err("bad"));
    assert_eq!(value(&cache, 1, 3).len(), 3);
}

#[test]
fn the_budget_is_kept_and_used() {
    let budget = 100 * (1000 + ENTRY_OVERHEAD);
    let cache = MemoryCache::new(budget);
    for key in 0..10_000 {
        value(&cache, key, 1000);
        assert!(cache.stats().used_bytes <= budget);
    }
    assert!(cache.stats().used_bytes > budget * 9 / 10);
    assert_eq!(cache.stats().evictions, 9_900);
}

#[test]
fn what_is_used_stays() {
    let cache = MemoryCache::new(320 * (100 + ENTRY_OVERHEAD));
    for key in 0..20 {
        value(&cache, key, 100);
    }
    for key in 1000..20_000 {
        value(&cache, key, 100);
        for hot in 0..20 {
            cache.get(hot);
        }
    }
    let kept = (0..20).filter(|key| cache.get(*key).is_some()).count();
    assert_eq!(kept, 20);
}

#[test]
fn a_value_beyond_the_budget_is_handed_out_and_not_kept() {
    let cache = MemoryCache::new(1000);
    assert_eq!(value(&cache, 1, 5000).len(), 5000);
    assert!(cache.get(1).is_none());
    assert_eq!(cache.stats().used_bytes, 0);
    cache.insert(2, bytes(5000, 0));
    assert!(cache.get(2).is_none());
}

#[test]
fn insert_leaves_what_is_there() {
    let cache = MemoryCache::new(1 << 20);
    cache.insert(1, bytes(1, 1));
    cache.insert(1, bytes(2, 2));
    assert_eq!(cache.get(1).unwrap().len(), 1);
}

#[test]
fn threads_that_miss_together_make_the_value_once() {
    let cache: MemoryCache<u64, Bytes> = MemoryCache::new(1 << 20);
    let made = AtomicUsize::new(0);
    let start = Barrier::new(16);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                let got = cache
                    .get_or_try_insert_with::<()>(5, || {
                        made.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(30));
                        Ok(bytes(4, 5))
                    })
                    .unwrap();
                assert_eq!(&got[..], [5, 5, 5, 5]);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn waiters_outlive_failed_and_panicked_makers() {
    let cache: MemoryCache<u64, Bytes> = MemoryCache::new(1 << 20);
    let tries = AtomicUsize::new(0);
    let start = Barrier::new(12);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    cache.get_or_try_insert_with(9, || {
                        let nth = tries.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(5));
                        match nth {
                            0 => std::panic::resume_unwind(Box::new("on purpose")),
                            1 | 2 => Err("bad"),
                            _ => Ok(bytes(1, 9)),
                        }
                    })
                })
            })
            .collect();
        workers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect()
    });
    let panicked = outcomes.iter().filter(|o| o.is_err()).count();
    let failed = outcomes.iter().filter(|o| matches!(o, Ok(Err(_)))).count();
    let served = outcomes.iter().filter(|o| matches!(o, Ok(Ok(_)))).count();
    assert_eq!((panicked, failed, served), (1, 2, 9));
    assert_eq!(tries.into_inner(), 4);
}

#[test]
fn many_threads_under_eviction_see_right_values() {
    let cache: MemoryCache<u64, Bytes> = MemoryCache::new(64 * 1024);
    thread::scope(|scope| {
        for seed in 1..=8_u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = seed;
                for _ in 0..20_000 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(99);
                    let key = (random >> 33) % 300;
                    let got = value(cache, key, 200 + key as usize);
                    assert_eq!(got.len(), 200 + key as usize);
                    assert!(got.iter().all(|byte| *byte == key as u8));
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!(stats.hits + stats.misses, 160_000);
    assert!(stats.used_bytes <= cache.budget_bytes());
}
