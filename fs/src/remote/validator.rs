//! Whether a server still has the same file: ETag, else the time of the last change, and the length.

use reqwest::header::{DATE, ETAG, HeaderMap, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

/// What a server said about the version of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    etag: Option<String>,
    modified: Option<String>,
    /// The date is old enough that no second change can hide behind it.
    modified_is_strong: bool,
}

impl Validator {
    /// Takes down what the headers of an answer say.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let modified = text(LAST_MODIFIED);
        let parse = |text: &Option<String>| httpdate::parse_http_date(text.as_deref()?).ok();
        // RFC 9110, 8.8.2.2: strong only if the answer was made at least a second after the change.
        let modified_is_strong = match (parse(&modified), parse(&text(DATE))) {
            (Some(modified), Some(date)) => date
                .duration_since(modified)
                .is_ok_and(|age| age.as_secs() >= 1),
            _ => false,
        };
        Self {
            etag: text(ETAG),
            modified,
            modified_is_strong,
        }
    }

    /// Nothing by which versions could be told apart, but for the length.
    pub(super) fn is_empty(&self) -> bool {
        self.etag.is_none() && self.modified.is_none()
    }

    /// The value for If-Range: weak validators must not be used there.
    pub(super) fn if_range(&self) -> Option<&str> {
        match &self.etag {
            Some(etag) => (!is_weak(etag)).then_some(etag),
            None => self.modified.as_deref().filter(|_| self.modified_is_strong),
        }
    }

    /// As part of the identity of the bytes.
    pub(super) fn identity(&self) -> String {
        let etag = self.etag.as_deref().map_or("", opaque);
        format!("{etag} {}", self.modified.as_deref().unwrap_or_default())
    }

    /// How a later answer contradicts this one, if it does. Headers that one of the two lacks say
    /// nothing.
    pub(super) fn contradiction(&self, later: &HeaderMap) -> Option<String> {
        let later = Self::of(later);
        if let (Some(old), Some(new)) = (&self.etag, &later.etag)
            && opaque(old) != opaque(new)
        {
            return Some(format!("ETag was {old}, is {new}"));
        }
        if let (Some(old), Some(new)) = (&self.modified, &later.modified)
            && old != new
        {
            return Some(format!("last modified {old}, now {new}"));
        }
        None
    }
}

fn is_weak(etag: &str) -> bool {
    etag.starts_with("W/")
}

/// The tag itself: servers turn a strong one into a weak one when they compress.
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    const MONDAY: &str = "Mon, 01 Jun 2026 10:00:00 GMT";
    const TUESDAY: &str = "Tue, 02 Jun 2026 10:00:00 GMT";

    #[test]
    fn if_range_takes_strong_validators_only() {
        let if_range = |pairs: &[_]| Validator::of(&headers(pairs)).if_range().map(str::to_owned);
        assert_eq!(
            if_range(&[("etag", "\"a\""), ("last-modified", MONDAY)]).as_deref(),
            Some("\"a\"")
        );
        assert_eq!(
            if_range(&[
                ("etag", "W/\"a\""),
                ("last-modified", MONDAY),
                ("date", TUESDAY)
            ]),
            None
        );
        assert_eq!(
            if_range(&[("last-modified", MONDAY), ("date", TUESDAY)]).as_deref(),
            Some(MONDAY)
        );
        assert_eq!(
            if_range(&[("last-modified", MONDAY), ("date", MONDAY)]),
            None
        );
        assert_eq!(if_range(&[("last-modified", MONDAY)]), None);
        assert!(Validator::of(&headers(&[])).is_empty());
    }

    #[test]
    fn contradictions() {
        let first = Validator::of(&headers(&[("etag", "\"a\""), ("last-modified", MONDAY)]));
        let says = |pairs: &[_]| first.contradiction(&headers(pairs)).is_some();
        assert!(!says(&[("etag", "\"a\""), ("last-modified", MONDAY)]));
        assert!(!says(&[("etag", "W/\"a\"")]));
        assert!(!says(&[]));
        assert!(says(&[("etag", "\"b\"")]));
        assert!(says(&[("etag", "\"a\""), ("last-modified", TUESDAY)]));
    }
}
