//! Looking up a file on a web server, by asking for its beginning: one request tells the length, the
//! version and whether parts can be had, and brings what the format reader wants first.

use std::ops::Range;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::client::Client;
use super::digest::Digest;
use super::error::RemoteError;
use super::exchange::{Access, Errand, judge};
use super::failure::Failure;
use super::range::{self, ContentRange};
use super::reference::{HttpReference, shown};
use super::resolved::{Location, Resolved};
use super::roads::Road;
use super::transport::Reply;
use super::validator::Validator;

/// How much of the beginning is asked for. A SIF's header and descriptors and the superblock of its
/// squashfs are within; more would be read by few.
const BEGINNING: u64 = 64 << 10;

impl Client {
    pub(super) async fn resolve_http(
        &self,
        http: &HttpReference,
        within: Duration,
    ) -> Result<(Resolved, Vec<u8>), RemoteError> {
        let name = shown(http.url());
        let road = Road::new(
            http.url().clone(),
            self.web_access(http.url(), http.login()),
            false,
        );
        let mut patience = self.patience(&name, within);
        loop {
            match self
                .beginning(http.url(), &name, &road, patience.stall())
                .await
            {
                Ok(found) => {
                    patience.progress();
                    return Ok(found);
                }
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    /// Whether a web server says, asked for headers alone, that a file is still the one it was. Any
    /// doubt is a no: then it is looked up as if nothing were known.
    pub(super) async fn is_unchanged_http(
        &self,
        http: &HttpReference,
        resolved: &Resolved,
        within: Duration,
    ) -> bool {
        let Location::Http { validator, .. } = &resolved.location else {
            return false;
        };
        if validator.is_empty() {
            return false;
        }
        let road = Road::new(
            http.url().clone(),
            self.web_access(http.url(), http.login()),
            false,
        );
        let errand = Errand {
            method: Method::HEAD,
            headers: HeaderMap::new(),
            body: None,
        };
        let wait = within.min(self.options().stall_after);
        let Ok(reply) = self.exchange(&errand, &road, wait).await else {
            return false;
        };
        reply.status() == StatusCode::OK
            && reply.encoding().is_none()
            && reply.length() == Some(resolved.size)
            && Validator::of(reply.headers()).identity() == validator.identity()
    }

    /// How to be let in by a web server: only a login in the URL itself counts. Those of registries
    /// are none of its business.
    pub(super) fn web_access(&self, url: &Url, login: Option<(&str, &str)>) -> Access {
        login
            .or_else(|| self.options().url_login(url))
            .and_then(|(user, password)| basic(user, password))
            .map_or(Access::Open, Access::Header)
    }

    async fn beginning(
        &self,
        url: &Url,
        name: &str,
        road: &Road,
        wait: Duration,
    ) -> Result<(Resolved, Vec<u8>), Failure> {
        let wanted = 0..BEGINNING;
        let mut headers = HeaderMap::new();
        set(&mut headers, RANGE, &range::asked(&wanted));
        let mut reply = judge(self.get(road, &headers, wait).await?, name, wait).await?;
        let (size, has_ranges) = size(&reply, name, &wanted)?;
        let validator = Validator::of(reply.headers());
        let media_type = reply.header(CONTENT_TYPE).map(str::to_owned);
        let end = size.min(BEGINNING);
        let mut first = reply.beginning(end, wait).await?;
        if (first.len() as u64) < end {
            return Err(Failure::passing("the answer is shorter than it says"));
        }
        first.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        let resolved = Resolved {
            reference: name.to_owned(),
            key: key(url, &validator, size, &first),
            size,
            digest: None,
            media_type,
            has_ranges,
            location: Location::Http {
                url: url.to_string(),
                validator,
            },
        };
        Ok((resolved, first))
    }
}

/// Names the bytes: file, version and length. A server that tells no versions is held to the first
/// bytes, in which every SIF has an identifier and a date. Of the query only the digest is kept, since
/// keys are written into files that others may read.
fn key(url: &Url, validator: &Validator, size: u64, first: &[u8]) -> String {
    let version = if validator.is_empty() {
        Digest::of(first).to_string()
    } else {
        validator.identity()
    };
    format!("{}{size} {version}", start_of_key(url))
}

/// What the keys of all versions of the file start with, and no others.
fn start_of_key(url: &Url) -> String {
    let query = url.query().map_or_else(String::new, |query| {
        Digest::of(query.as_bytes()).to_string()
    });
    format!("http {} {query} ", shown(url))
}

/// Whether `key` names a version of the file at `url`, with this query.
pub(super) fn is_key_of(key: &str, url: &Url) -> bool {
    key.starts_with(&start_of_key(url))
}

/// The length of the whole and whether the server gives parts.
fn size(reply: &Reply, name: &str, wanted: &Range<u64>) -> Result<(u64, bool), Failure> {
    let unusable = |reason: &str| RemoteError::Unusable {
        url: name.to_owned(),
        reason: reason.to_owned(),
    };
    match reply.status() {
        StatusCode::PARTIAL_CONTENT => {
            let content = reply.header(CONTENT_RANGE).and_then(ContentRange::parse);
            let content = content.filter(|content| content.answers(wanted));
            let content = content.ok_or_else(|| {
                Failure::Doubtful(unusable(
                    "the server sends another part than it was asked for",
                ))
            })?;
            let size = content
                .total
                .ok_or_else(|| unusable("the server does not say how long the file is"))?;
            if content.range.end != size.min(wanted.end) {
                return Err(Failure::Doubtful(unusable(
                    "the server sends less than it was asked for",
                )));
            }
            Ok((size, true))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => Err(unusable("the file is empty").into()),
        StatusCode::OK => match reply.length() {
            Some(0) => Err(unusable("the file is empty").into()),
            Some(size) => Ok((size, false)),
            None => Err(unusable("the server does not say how long the file is").into()),
        },
        status => Err(unusable(&format!("the server answers {status}")).into()),
    }
}

/// The header that carries a user name and a password.
pub(super) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::Engine as _;
    let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    // Base64 is always fit for a header.
    let mut value = HeaderValue::from_str(&format!("Basic {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Sets a header whose value we made of text that is fit for one; what is not is left out.
pub(super) fn set(headers: &mut HeaderMap, name: reqwest::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
