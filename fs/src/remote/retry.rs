//! Patience: how long a failed request is made again, and at what pace.
//!
//! Pauses double from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`] and are cut by chance to between half and
//! the whole of that, so that the nodes of a cluster that lost their server do not come back in
//! step. A server that names a time gets it. All is bounded by the time since data last came.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::error::RemoteError;
use super::failure::Failure;
use super::observer::Voice;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often an answer that makes no sense is asked for again.
const DOUBTS: u32 = 3;

/// The patience of one read or look-up.
pub(super) struct Patience<'a> {
    voice: &'a Voice,
    url: &'a str,
    limit: Duration,
    stall: Duration,
    /// When data last came, or the start.
    since: Instant,
    failures: u32,
    doubts: u32,
    told: bool,
}

impl<'a> Patience<'a> {
    pub(super) fn new(voice: &'a Voice, url: &'a str, limit: Duration, stall: Duration) -> Self {
        Self {
            voice,
            url,
            limit,
            stall,
            since: Instant::now(),
            failures: 0,
            doubts: 0,
            told: false,
        }
    }

    /// How long the next byte may take.
    pub(super) fn stall(&self) -> Duration {
        // A moment is left for the last attempt even when time is up.
        self.stall.min(self.left().max(FIRST_PAUSE))
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    /// Data came: all patience is there again.
    pub(super) fn progress(&mut self) {
        if self.told {
            let after = self.since.elapsed();
            self.voice.recovered(self.url, after);
            self.told = false;
        }
        self.since = Instant::now();
        self.failures = 0;
        self.doubts = 0;
    }

    /// Waits as long as is fit after a failure, or says that it is enough.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), RemoteError> {
        let (reason, rest) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Doubtful(error) => {
                self.doubts += 1;
                if self.doubts >= DOUBTS {
                    return Err(error);
                }
                (error.to_string(), None)
            }
            Failure::Passing { reason, rest } => (reason, rest),
        };
        let left = self.left();
        let (url, after) = (self.url.to_owned(), self.since.elapsed());
        if left.is_zero() {
            self.voice.gave_up(&url, &reason, after);
            return Err(RemoteError::Unreachable { url, reason, after });
        }
        let pause = pause(self.failures, rest, chance()).min(left);
        self.failures = self.failures.saturating_add(1);
        self.told = true;
        self.voice.retrying(&url, &reason, pause);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The pause after a number of failures; `chance` is between 0 and 1.
fn pause(failures: u32, rest: Option<Duration>, chance: f64) -> Duration {
    let doubled =
        FIRST_PAUSE.saturating_mul(1u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX));
    let own = doubled.min(LONGEST_PAUSE).mul_f64(0.5 + chance / 2.0);
    // Not all at once either when they were all told the same time.
    rest.map_or(own, |rest| own.max(rest.mul_f64(1.0 + chance / 10.0)))
}

/// A number between 0 and 1, from the random keys that the standard library gives every hasher.
fn chance() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let chance = bits as f64 / (1u64 << 53) as f64;
    chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_heed_the_server() {
        let ms = |failures, rest, chance| pause(failures, rest, chance).as_millis();
        assert_eq!(
            [ms(0, None, 0.0), ms(0, None, 1.0), ms(3, None, 1.0)],
            [50, 100, 800]
        );
        assert_eq!([ms(30, None, 0.0), ms(u32::MAX, None, 1.0)], [5000, 10000]);
        assert_eq!(ms(0, Some(Duration::from_secs(2)), 1.0), 2200);
        assert_eq!(ms(9, Some(Duration::ZERO), 1.0), 10000);
    }

    #[test]
    fn chance_is_spread() {
        let some: Vec<f64> = (0..64).map(|_| chance()).collect();
        assert!(some.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(some.iter().any(|&chance| chance < 0.5) && some.iter().any(|&chance| chance > 0.5));
    }
}
