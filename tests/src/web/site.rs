//! Images under paths, as on any web server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::content::Content;
use super::request::{Answer, Request};
use super::server::Handler;

/// A place for images; what lies there can be replaced at any time.
#[derive(Debug, Default)]
pub struct Site {
    images: Mutex<BTreeMap<String, Content>>,
}

impl Site {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One with an image on it.
    pub fn with(path: &str, content: Content) -> Arc<Self> {
        let site = Self::new();
        site.put(path, content);
        site
    }

    /// Puts an image there, in place of any other.
    pub fn put(&self, path: &str, content: Content) {
        self.lock().insert(path.to_owned(), content);
    }

    /// Takes it away.
    pub fn remove(&self, path: &str) {
        self.lock().remove(path);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Content>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Site {
    fn answer(&self, request: &Request) -> Answer {
        let found = self.lock().get(&request.path).cloned();
        found.map_or_else(
            || Answer::text(404, "nothing there"),
            |content| content.answer(request),
        )
    }
}

/// Images behind addresses that hold for a while: `PATH?until=MILLISECONDS` since 1970.
#[derive(Debug)]
pub struct Store(pub Arc<Site>);

impl Handler for Store {
    fn answer(&self, request: &Request) -> Answer {
        let until = request.parameters("until");
        let until = until.first().and_then(|text| text.parse::<u128>().ok());
        if until.is_some_and(|until| until < now()) {
            return Answer::text(403, "this address has expired");
        }
        self.0.answer(request)
    }
}

/// Milliseconds since 1970.
pub fn now() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis())
}
