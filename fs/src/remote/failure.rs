//! What came of an attempt that brought no data, and what may be done about it.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::error::RemoteError;

/// A server that asks for more patience than this is asked again all the same: by then its reason
/// may be gone, and the whole patience of a read is a matter of minutes.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Why an attempt failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It may go better next time.
    Passing {
        /// What happened, in a few words.
        reason: String,
        /// What the server asked us to wait.
        rest: Option<Duration>,
    },
    /// It may have been one bad server of many, but will not go better for ever.
    Doubtful(RemoteError),
    /// It will not go better.
    Final(RemoteError),
}

impl Failure {
    /// A failure that is nobody's decision.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing {
            reason: reason.into(),
            rest: None,
        }
    }

    /// The text of whatever it is.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Passing { reason, .. } => reason.clone(),
            Self::Doubtful(error) | Self::Final(error) => error.to_string(),
        }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::Final(error)
    }
}

/// Judges what the HTTP library reports. Only a certificate that is not trusted is final: names come
/// back, and so do servers.
pub(super) fn of_library(error: &reqwest::Error, url: &str) -> Failure {
    let mut last = error.to_string();
    let mut dns = false;
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(tls) = tls_error(error) {
            if let rustls::Error::InvalidCertificate(reason) = tls {
                let reason = format!(
                    "the server's certificate is not trusted ({reason}); its authority can be added in \
                     certs.d or $SSL_CERT_FILE"
                );
                return Failure::Final(RemoteError::Untrusted {
                    url: url.to_owned(),
                    reason,
                });
            }
            return Failure::passing(format!("TLS: {tls}"));
        }
        last = error.to_string();
        dns |= last.starts_with("dns error");
        cause = error.source();
    }
    let last = plain(&last);
    Failure::passing(if dns {
        format!("the server's name cannot be resolved: {last}")
    } else if error.is_connect() {
        format!("cannot connect: {last}")
    } else {
        last
    })
}

/// What a server says as one line, cut after so many letters.
pub(super) fn one_line(text: &str, longest: usize) -> String {
    let letters = text.chars().filter(|it| !it.is_control());
    letters.take(longest).collect()
}

/// What lies behind an error of the library, for the middle of a sentence.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    plain(&last.to_string())
}

/// The TLS library's error within an error; it may stand inside an I/O error, and that in another.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    tls_error(error.downcast_ref::<io::Error>()?.get_ref()?)
}

/// `Connection refused (os error 111)` as it stands within a sentence.
fn plain(text: &str) -> String {
    let text = text
        .split_once(" (os error ")
        .map_or(text, |(text, _)| text);
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(text);
    let mut letters = text.chars();
    let second_is_upper = text.chars().nth(1).is_some_and(char::is_uppercase);
    match letters.next() {
        Some(first) if !second_is_upper => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// The Retry-After header: seconds or a date, up to [`LONGEST_REST`].
pub(super) fn rest_asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let rest = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or(Duration::ZERO),
    };
    Some(rest.min(LONGEST_REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_said() {
        assert_eq!(one_line("no\n\u{1b}[31mway", 300), "no[31mway");
        assert_eq!(one_line(&"x".repeat(9999), 300).len(), 300);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Mon, 01 Jun 2026 10:00:00 GMT").unwrap();
        let rest = |text: &str| {
            let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            rest_asked(&headers, now).map(|rest| rest.as_secs())
        };
        assert_eq!(rest("7"), Some(7));
        assert_eq!(rest("86400"), Some(60));
        assert_eq!(rest("Mon, 01 Jun 2026 10:00:09 GMT"), Some(9));
        assert_eq!(rest("Mon, 01 Jun 2026 09:00:00 GMT"), Some(0));
        assert_eq!(rest("soon"), None);
        assert_eq!(rest_asked(&HeaderMap::new(), now), None);
    }

    #[test]
    fn reasons_read_well_within_a_sentence() {
        assert_eq!(
            plain("Connection refused (os error 111)"),
            "connection refused"
        );
        assert_eq!(plain("DNS is down"), "DNS is down");
        assert_eq!(plain(""), "");
    }
}
