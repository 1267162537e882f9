//! A late answer is asked for a second time on another connection, and the first to come is taken.
//!
//! Late is three times what nearly all recent answers took. One server that hangs thus costs a
//! second, not a time-out. A server that is slow for everybody must not be asked twice as often, so
//! that doubling is rationed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// How many recent answers are looked at.
const WINDOW: usize = 64;
/// Requests per doubled one in the long run, and how many may be doubled in a row.
const RATION: f64 = 1.0 / 16.0;
const BURST: f64 = 4.0;

/// How quickly a server has been answering.
#[derive(Debug)]
pub(super) struct Tempo {
    floor: Duration,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    waits: VecDeque<Duration>,
    credit: f64,
}

impl Tempo {
    /// `floor`: no answer counts as late before that.
    pub(super) fn new(floor: Duration) -> Self {
        Self {
            floor,
            recent: Mutex::new(Recent {
                waits: VecDeque::new(),
                credit: BURST,
            }),
        }
    }

    /// An answer came.
    pub(super) fn note(&self, wait: Duration) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.waits.len() == WINDOW {
            recent.waits.pop_front();
        }
        recent.waits.push_back(wait);
        recent.credit = (recent.credit + RATION).min(BURST);
    }

    /// After how long an answer is late.
    pub(super) fn late_after(&self) -> Duration {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waits: Vec<Duration> = recent.waits.iter().copied().collect();
        drop(recent);
        waits.sort_unstable();
        let p95 = waits
            .get(waits.len() * 95 / 100)
            .copied()
            .unwrap_or_default();
        self.floor.max(p95.saturating_mul(3))
    }

    /// Whether one may be doubled now; takes it from the ration.
    pub(super) fn may_double(&self) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let may = recent.credit >= 1.0;
        if may {
            recent.credit -= 1.0;
        }
        may
    }
}

/// Runs `first`, and after a while what `second` makes beside it, if it makes something: the first
/// success of the two, else the later failure.
pub(super) async fn race<T, E, A, B>(
    first: A,
    after: Duration,
    second: impl FnOnce() -> Option<B>,
) -> Result<T, E>
where
    A: Future<Output = Result<T, E>>,
    B: Future<Output = Result<T, E>>,
{
    let mut first = pin!(first);
    if let Ok(done) = tokio::time::timeout(after, &mut first).await {
        return done;
    }
    let Some(second) = second() else {
        return first.await;
    };
    let mut second = pin!(second);
    let (mut first_failed, mut second_failed) = (false, false);
    poll_fn(|context| {
        if let Poll::Ready(done) = step(first.as_mut(), &mut first_failed, second_failed, context) {
            return Poll::Ready(done);
        }
        step(second.as_mut(), &mut second_failed, first_failed, context)
    })
    .await
}

/// Polls one runner, unless it fell already; ready with success, or with failure if the other fell too.
fn step<T, E, F: Future<Output = Result<T, E>>>(
    runner: Pin<&mut F>,
    failed: &mut bool,
    other_failed: bool,
    context: &mut Context<'_>,
) -> Poll<Result<T, E>> {
    if *failed {
        return Poll::Pending;
    }
    match runner.poll(context) {
        Poll::Ready(Err(error)) => {
            *failed = true;
            if other_failed {
                Poll::Ready(Err(error))
            } else {
                Poll::Pending
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_relative_and_doubling_rationed() {
        let tempo = Tempo::new(Duration::from_millis(100));
        assert_eq!(tempo.late_after(), Duration::from_millis(100));
        (0..64).for_each(|_| tempo.note(Duration::from_millis(50)));
        assert_eq!(tempo.late_after(), Duration::from_millis(150));
        assert_eq!((0..10).filter(|_| tempo.may_double()).count(), 4);
        (0..15).for_each(|_| tempo.note(Duration::ZERO));
        assert!(!tempo.may_double());
        tempo.note(Duration::ZERO);
        assert!(tempo.may_double());
    }

    fn run(first: (u64, Result<u8, u8>), second: (u64, Result<u8, u8>)) -> Result<u8, u8> {
        let runner = |(ms, result): (u64, Result<u8, u8>)| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            result
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(race(runner(first), Duration::from_millis(20), || {
            Some(runner(second))
        }))
    }

    #[test]
    fn the_first_success_wins() {
        assert_eq!(run((1, Err(1)), (1, Ok(2))), Err(1));
        assert_eq!(run((500, Ok(1)), (1, Ok(2))), Ok(2));
        assert_eq!(run((60, Ok(1)), (300, Ok(2))), Ok(1));
        assert_eq!(run((60, Ok(1)), (1, Err(2))), Ok(1));
        assert_eq!(run((30, Err(1)), (60, Ok(2))), Ok(2));
        assert_eq!(run((30, Err(1)), (60, Err(2))), Err(2));
    }
}
