//! The ways to the same bytes: mirrors in order, and last the server that everything comes from.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{StatusCode, Url};

use super::client::Client;
use super::error::RemoteError;
use super::exchange::Access;
use super::failure::Failure;
use super::reference::shown;

/// For how long a way that failed is not tried first.
const REST: Duration = Duration::from_secs(30);

/// A place to ask, and where it sent us last time.
#[derive(Debug)]
pub(super) struct Road {
    pub(super) start: Url,
    pub(super) access: Access,
    /// Any certificate will do.
    pub(super) insecure: bool,
    is_mirror: bool,
    /// The same server by another scheme than the road before: of use only if that one got no answer.
    is_alternative: bool,
    answered: AtomicBool,
    remembered: Mutex<Option<Url>>,
    rests_until: Mutex<Option<Instant>>,
}

/// At least one road; the last one decides what an error means.
#[derive(Debug)]
pub(super) struct Roads(Vec<Road>);

impl Road {
    pub(super) fn new(start: Url, access: Access, insecure: bool) -> Self {
        let (remembered, rests_until) = (Mutex::default(), Mutex::default());
        Self {
            start,
            access,
            insecure,
            is_mirror: false,
            is_alternative: false,
            answered: AtomicBool::new(false),
            remembered,
            rests_until,
        }
    }

    /// Its failures are worth a word, since they are somebody's to repair.
    pub(super) fn of_mirror(self) -> Self {
        Self {
            is_mirror: true,
            ..self
        }
    }

    /// It is to be tried if the one before it does not lead to a server that speaks its scheme.
    pub(super) fn alternative(self) -> Self {
        Self {
            is_alternative: true,
            ..self
        }
    }

    /// A server answered. One that is spoken to over plain http and wants https says 400.
    pub(super) fn has_answered(&self, status: StatusCode) {
        if status != StatusCode::BAD_REQUEST {
            self.answered.store(true, Relaxed);
        }
    }

    /// The name of where it starts.
    pub(super) fn name(&self) -> String {
        shown(&self.start)
    }

    pub(super) fn remembered(&self) -> Option<Url> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn remember(&self, url: Option<Url>) {
        *self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = url;
    }

    fn rests(&self) -> bool {
        let until = self
            .rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self) {
        let until = Some(Instant::now() + REST);
        *self
            .rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Roads {
    /// The last is the one that everything comes from.
    pub(super) fn new(roads: Vec<Road>) -> Self {
        debug_assert!(!roads.is_empty());
        Self(roads)
    }

    /// The same, but only to the server that everything comes from.
    pub(super) fn without_mirrors(self) -> Self {
        Self(self.0.into_iter().filter(|road| !road.is_mirror).collect())
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Road> {
        self.0.iter()
    }

    /// What came on this road did not come to its end. A mirror is not tried first for a while.
    pub(super) fn broke_off(&self, index: usize) {
        if let Some(road) = self.0.get(index).filter(|road| road.is_mirror) {
            road.rest();
        }
    }

    /// Tries each road that did not fail lately, the last one in any case. A failure of the last one
    /// is the failure of all.
    pub(super) async fn first<T>(
        &self,
        client: &Client,
        mut walk: impl AsyncFnMut(usize, &Road) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut failure = Failure::passing("no server is known");
        let mut answered = false;
        for (index, road) in self.0.iter().enumerate() {
            let next = self.0.get(index + 1);
            let alternative = next.filter(|next| next.is_alternative);
            let passed_by = if road.is_alternative && answered {
                true
            } else if alternative.is_some_and(|it| it.answered.load(Relaxed)) {
                // Its server speaks the other scheme.
                !road.answered.load(Relaxed)
            } else {
                road.is_mirror && road.rests()
            };
            if passed_by {
                continue;
            }
            failure = match walk(index, road).await {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            // A certificate that is not trusted must not lead to no certificate at all.
            answered = road.answered.load(Relaxed)
                || matches!(failure, Failure::Final(RemoteError::Untrusted { .. }));
            if road.is_mirror {
                road.rest();
                if answered || alternative.is_none() {
                    let reason = failure.reason();
                    client.warn(format!("mirror passed by: {}: {reason}", road.name()));
                }
            }
        }
        Err(failure)
    }
}
