//! What a name stood for last time, remembered on the node.
//!
//! A job of a thousand processes that start `oras://registry/lab/py:3` should ask the registry once,
//! and all should get the same image. The first one looks the name up, under a lock that the others
//! wait for; the answer holds for [`RemoteOptions::tag_ttl`]. A name with a digest holds for ever.
//! When the server cannot be reached an old answer is better than none: it is used, and told.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use skiff_cache::disk::{Cache, NoteLock};

use super::client::Client;
use super::digest::Digest;
use super::error::RemoteError;
use super::observer::Observer;
use super::options::RemoteOptions;
use super::reference::{Reference, shown};
use super::resolved::{Location, Resolved};

/// The kind of the notes.
const KIND: &str = "pin";
/// How long a server is tried when there is an old answer to fall back on.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// A note from further in the future is not believed: the clock was wrong then, or is now.
const CLOCK_DRIFT: u64 = 60;

/// On disk the URL is without its query, which may be a signature: whoever asks brings it along.
#[derive(Clone, Serialize, Deserialize)]
struct Pin {
    resolved: Resolved,
    /// When the server said so, in seconds of the epoch.
    at: u64,
    /// When it was last tried in vain to ask again.
    tried: Option<u64>,
}

/// What is known without asking anybody.
enum Known {
    /// It can be used.
    Fresh(Resolved),
    /// It was so some time ago.
    Stale(Resolved, Duration),
    Nothing,
}

/// What a name stood for the last time, if that is not long ago. Asks nobody and starts no thread.
pub fn recent(cache: &Cache, reference: &Reference, options: &RemoteOptions) -> Option<Resolved> {
    match Known::look(cache, reference, options) {
        Known::Fresh(resolved) => Some(resolved),
        Known::Stale(..) | Known::Nothing => None,
    }
}

/// What a name stands for: as [`recent`], else as the server says, which one process asks for all.
/// The bytes are those of the blob that came along, from the first on; often none.
///
/// # Errors
/// As [`Client::resolve`], if there is no older answer that could stand in.
pub fn resolve(
    cache: Option<&Cache>,
    reference: &Reference,
    options: &RemoteOptions,
    observer: &Arc<dyn Observer>,
) -> Result<(Resolved, Vec<u8>), RemoteError> {
    let known = || {
        cache.map_or(Known::Nothing, |cache| {
            Known::look(cache, reference, options)
        })
    };
    if let Known::Fresh(resolved) = known() {
        return Ok((resolved, Vec::new()));
    }
    if options.offline {
        return Err(RemoteError::Offline {
            name: reference.name(),
        });
    }
    let key = key(reference);
    // Whoever holds it asks the server, which takes no longer than this as a rule. Without it every
    // process asks for itself.
    let _lock: Option<NoteLock> =
        cache.and_then(|cache| cache.lock_note(KIND, &key, options.look_up_for()));
    let old = match known() {
        Known::Fresh(resolved) => return Ok((resolved, Vec::new())),
        Known::Stale(resolved, age) => Some((resolved, age)),
        Known::Nothing => None,
    };
    let client = Client::new(options.clone(), Arc::clone(observer))?;
    let patience = if old.is_some() {
        SHORT_PATIENCE
    } else {
        Duration::MAX
    };
    if let Some((resolved, _)) = &old
        && client.is_unchanged(reference, resolved, patience)
    {
        let resolved = resolved.clone();
        let pin = Pin {
            resolved,
            at: now(),
            tried: None,
        };
        pin.write(cache, &key);
        return Ok((pin.resolved, Vec::new()));
    }
    match (client.resolve_within(reference, patience), old) {
        (Ok((resolved, first)), _) => {
            Pin {
                resolved: resolved.clone(),
                at: now(),
                tried: None,
            }
            .write(cache, &key);
            Ok((resolved, first))
        }
        (Err(RemoteError::Unreachable { reason, .. }), Some((resolved, age))) => {
            client.warn(format!(
                "{}: the server cannot be reached ({reason}); using the image that this was {} ago",
                reference.name(),
                approximate(age)
            ));
            // The next ones need not wait for the same in vain.
            let at = now().saturating_sub(age.as_secs());
            Pin {
                resolved: resolved.clone(),
                at,
                tried: Some(now()),
            }
            .write(cache, &key);
            Ok((resolved, Vec::new()))
        }
        (Err(error), _) => Err(error),
    }
}

/// Forgets what a name stood for: the image behind it was found replaced.
pub fn forget(cache: &Cache, reference: &Reference) {
    // No pin can be read from this. A cache that cannot be written keeps its pin until it is too old.
    drop(cache.put_note(KIND, &key(reference), b""));
}

/// What a pin is kept under. Of a query only the digest.
fn key(reference: &Reference) -> String {
    match reference {
        Reference::Http(http) => match http.url().query() {
            Some(query) => format!("{} {}", shown(http.url()), Digest::of(query.as_bytes())),
            None => reference.to_string(),
        },
        Reference::Oras(_) => reference.to_string(),
    }
}

impl Known {
    fn look(cache: &Cache, reference: &Reference, options: &RemoteOptions) -> Self {
        let pin = Pin::read(cache, reference);
        pin.map_or(Self::Nothing, |pin| pin.judge(reference, options, now()))
    }
}

impl Pin {
    fn read(cache: &Cache, reference: &Reference) -> Option<Self> {
        let mut pin: Self = serde_json::from_slice(&cache.note(KIND, &key(reference))?).ok()?;
        if let (Reference::Http(http), Location::Http { url, .. }) =
            (reference, &mut pin.resolved.location)
        {
            *url = http.url().to_string();
        }
        Some(pin)
    }

    fn write(&self, cache: Option<&Cache>, key: &str) {
        let mut pin = self.clone();
        if let Location::Http { url, .. } = &mut pin.resolved.location {
            url.truncate(url.find('?').unwrap_or(url.len()));
        }
        if let (Some(cache), Ok(text)) = (cache, serde_json::to_vec(&pin)) {
            // Should that fail, the next process asks again.
            drop(cache.put_note(KIND, key, &text));
        }
    }

    fn judge(self, reference: &Reference, options: &RemoteOptions, now: u64) -> Known {
        let recent =
            |at: u64| at <= now + CLOCK_DRIFT && now.saturating_sub(at) < options.tag_ttl.as_secs();
        if reference.is_pinned()
            || options.offline
            || recent(self.at)
            || self.tried.is_some_and(recent)
        {
            return Known::Fresh(self.resolved);
        }
        Known::Stale(
            self.resolved,
            Duration::from_secs(now.saturating_sub(self.at)),
        )
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A time in the largest unit of which there are at least two.
fn approximate(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
