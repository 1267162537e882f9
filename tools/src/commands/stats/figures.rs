//! What a server tells of itself.

use serde::{Deserialize, Serialize};

/// Figures of a server since it started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Questions of the kernel.
    #[serde(default)]
    pub(super) requests: u64,
    /// Bytes of the image that were read to answer them.
    #[serde(default)]
    pub(super) bytes_read: u64,
    /// Of the way to an image that is elsewhere.
    #[serde(default)]
    pub(super) cache: Option<Far>,
}

/// Figures of a source behind the cache.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Far {
    /// Reads that the cache answered.
    #[serde(default)]
    pub(super) hits: u64,
    /// Bytes of them.
    #[serde(default)]
    pub(super) hit_bytes: u64,
    /// Reads that waited for the origin.
    #[serde(default)]
    pub(super) misses: u64,
    /// Questions to the origin.
    #[serde(default)]
    pub(super) requests: u64,
    /// Bytes that came.
    #[serde(default)]
    pub(super) bytes_fetched: u64,
    /// Questions that were asked again.
    #[serde(default)]
    pub(super) retries: u64,
    /// Upper ends of the classes of waits; the last class has none.
    #[serde(default)]
    pub(super) latency_ms_upper: Vec<u64>,
    /// Waits per class.
    #[serde(default)]
    pub(super) latency_counts: Vec<u64>,
}

impl Far {
    /// The end of the class in which so many hundredths of all waits are; `None` without waits, and
    /// `Some(None)` for the class without an end.
    pub(super) fn percentile(&self, hundredths: u64) -> Option<Option<u64>> {
        let total = self.waits();
        if total == 0 {
            return None;
        }
        let wanted = total.saturating_mul(hundredths).div_ceil(100).max(1);
        let mut sum = 0_u64;
        for (class, count) in self.latency_counts.iter().enumerate() {
            sum = sum.saturating_add(*count);
            if sum >= wanted {
                return Some(self.latency_ms_upper.get(class).copied());
            }
        }
        Some(None)
    }

    /// All waits.
    pub(super) fn waits(&self) -> u64 {
        self.latency_counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}
