//! Counters of one blob's traffic.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many buckets a histogram has: up to 2^16 ms, that is a minute, and a rest.
pub const LATENCY_BUCKETS: usize = 18;

/// What was asked of a server and what came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests for data, the repeated and the doubled ones included.
    pub requests: u64,
    /// Bytes of the blob that crossed the network, those thrown away included.
    pub bytes: u64,
    /// Requests that were made again after a failure.
    pub retries: u64,
    /// Requests that were doubled because the answer was late.
    pub hedges: u64,
    /// How long first bytes took: bucket `n` counts those below 2^n ms, the last one all others.
    pub latency: [u64; LATENCY_BUCKETS],
    /// Sum of those times in microseconds.
    pub latency_sum_us: u64,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_sum_us: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn hedge(&self) {
        self.hedges.fetch_add(1, Relaxed);
    }

    pub(super) fn first_byte(&self, after: Duration) {
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - ms.leading_zeros()) as usize;
        if let Some(bucket) = self.latency.get(bucket.min(LATENCY_BUCKETS - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.latency_sum_us.fetch_add(us, Relaxed);
    }

    pub(super) fn figures(&self) -> Figures {
        let mut latency = [0; LATENCY_BUCKETS];
        for (copy, bucket) in latency.iter_mut().zip(&self.latency) {
            *copy = bucket.load(Relaxed);
        }
        Figures {
            requests: self.requests.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            retries: self.retries.load(Relaxed),
            hedges: self.hedges.load(Relaxed),
            latency,
            latency_sum_us: self.latency_sum_us.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_buckets_of_doubling_width() {
        let counters = Counters::default();
        for ms in [0, 1, 2, 3, 4, 65_535, 65_536, 10_000_000] {
            counters.first_byte(Duration::from_millis(ms));
        }
        let latency = counters.figures().latency;
        assert_eq!(latency[..4], [1, 1, 2, 1]);
        assert_eq!(latency[16..], [1, 2]);
    }
}
