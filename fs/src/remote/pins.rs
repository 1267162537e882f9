//! What a name stood for the last time: tags and URLs are looked up once for all processes of a
//! node, and not again for a while.
//!
//! A lookup leaves a note in the cache. It is believed for [`RemoteOptions::tag_ttl`]; for ever if
//! the name is a digest, or if the network is not to be used. When the server cannot be reached an
//! old note is better than nothing, with a warning.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use skiff_cache::disk::Cache;

use super::client::Client;
use super::error::RemoteError;
use super::observer::{Event, Observer};
use super::options::RemoteOptions;
use super::reference::Reference;
use super::resolved::Resolved;

/// Kind of the notes.
const NOTE: &str = "pin";

/// How long a server that does not answer is waited for when there is an old note.
const PATIENCE_WITH_NOTE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct Pin {
    resolved: Resolved,
    /// When the server said so, Unix milliseconds.
    checked: u64,
}

impl Pin {
    fn read(cache: &Cache, reference: &Reference) -> Option<Self> {
        serde_json::from_slice(&cache.note(NOTE, &reference.to_string())?).ok()
    }

    fn age(&self) -> Duration {
        // One from the future is old.
        match now().checked_sub(self.checked) {
            Some(age) => Duration::from_millis(age),
            None => Duration::MAX,
        }
    }

    fn is_recent(&self, reference: &Reference, options: &RemoteOptions) -> bool {
        options.offline || reference.is_pinned() || self.age() <= options.tag_ttl
    }
}

/// What `reference` stood for the last time, if that is not long ago. Asks nobody.
pub fn recent(cache: &Cache, reference: &Reference, options: &RemoteOptions) -> Option<Resolved> {
    let pin = Pin::read(cache, reference)?;
    pin.is_recent(reference, options).then_some(pin.resolved)
}

/// What `reference` stands for: as [`recent`], else as the server says, which one process asks for
/// all. What came of the blob on the way is returned too; it may be nothing.
///
/// # Errors
/// As [`Client::resolve`].
pub fn resolve(
    cache: Option<&Cache>,
    reference: &Reference,
    options: &RemoteOptions,
    observer: &Arc<dyn Observer>,
) -> Result<(Resolved, Vec<u8>), RemoteError> {
    let name = reference.to_string();
    // Without the lock every process asks for itself.
    let _lock = cache.and_then(|cache| cache.lock_note(NOTE, &name, options.give_up_after));
    let pin = cache.and_then(|cache| Pin::read(cache, reference));
    if let Some(pin) = pin.as_ref().filter(|pin| pin.is_recent(reference, options)) {
        return Ok((pin.resolved.clone(), Vec::new()));
    }
    let mut options = options.clone();
    if pin.is_some() {
        options.give_up_after = options.give_up_after.min(PATIENCE_WITH_NOTE);
    }
    let found = Client::new(options, Arc::clone(observer))?.resolve(reference);
    match (found, pin) {
        (Ok((resolved, first)), _) => {
            let pin = Pin {
                resolved,
                checked: now(),
            };
            if let (Some(cache), Ok(note)) = (cache, serde_json::to_vec(&pin)) {
                // Without a note it is looked up again.
                let _again = cache.put_note(NOTE, &name, &note);
            }
            Ok((pin.resolved, first))
        }
        (Err(error @ RemoteError::Unreachable { .. }), Some(pin)) => {
            let minutes = pin.age().as_secs() / 60;
            observer.event(&Event::Warning(format!(
                "{error}; going on with what it was {minutes} minutes ago"
            )));
            Ok((pin.resolved, Vec::new()))
        }
        (Err(error), _) => Err(error),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
