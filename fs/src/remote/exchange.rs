//! A request carried to the server that has the answer: redirects and authorization.
//!
//! Registries send readers of a blob on to an object store, by a URL that is signed and good for
//! minutes. Such a URL is remembered per blob and used at once, until it fails; then the registry is
//! asked again. Credentials go only to the origin that we set out for.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, WARNING};
use reqwest::{Method, StatusCode, Url};

use super::client::Client;
use super::error::RemoteError;
use super::failure::{self, Failure};
use super::payload::Payload;
use super::reference::{host_and_port, without_login};
use super::registry::guard::Guard;
use super::roads::Road;
use super::transport::{Ask, Reply};

const MAX_REDIRECTS: usize = 10;
/// How much of an error's text is read.
const ERROR_TEXT: usize = 64 << 10;

/// How to be let in.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// Everybody is.
    Open,
    /// By this Authorization header.
    Header(HeaderValue),
    /// By what a registry asks for.
    Guard(Arc<Guard>),
}

/// What to ask, wherever the road leads.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Payload>,
}

impl Client {
    /// GET along a road. The answer may have any status but those that lead on.
    pub(super) async fn get(
        &self,
        road: &Road,
        headers: &HeaderMap,
        wait: Duration,
    ) -> Result<Reply, Failure> {
        let errand = Errand {
            method: Method::GET,
            headers: headers.clone(),
            body: None,
        };
        self.exchange(&errand, road, wait).await
    }

    pub(super) async fn exchange(
        &self,
        errand: &Errand,
        road: &Road,
        wait: Duration,
    ) -> Result<Reply, Failure> {
        let remembered = road.remembered();
        let mut by_memory = remembered.is_some();
        let mut url = remembered.unwrap_or_else(|| road.start.clone());
        let mut redirects = 0;
        let mut refused = false;
        loop {
            let at_origin = url.origin() == road.start.origin();
            let pass = match &road.access {
                _ if !at_origin => None,
                Access::Open => None,
                Access::Header(value) => Some(value.clone()),
                Access::Guard(guard) => guard.header(self, road, wait).await?,
            };
            let mut headers = errand.headers.clone();
            if let Some(pass) = &pass {
                headers.insert(AUTHORIZATION, pass.clone());
            }
            let ask = Ask {
                method: errand.method.clone(),
                url: url.clone(),
                headers,
                body: errand.body.clone(),
                insecure: road.insecure && at_origin,
            };
            let reply = match self.transport().send(ask, wait).await {
                Ok(reply) => reply,
                Err(failure) => {
                    // Another try should find out whether we are still sent there.
                    road.remember(None);
                    return Err(if at_origin {
                        failure
                    } else {
                        elsewhere(failure, &url)
                    });
                }
            };
            let status = reply.status();
            if at_origin {
                road.has_answered(status);
                self.pass_on_warnings(road, &reply);
            }
            if let Some(target) = redirect_target(&reply, &url) {
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    let reason = format!("redirected more than {MAX_REDIRECTS} times");
                    return Err(RemoteError::Unusable {
                        url: road.name(),
                        reason,
                    }
                    .into());
                }
                url = target.map_err(|reason| RemoteError::Unusable {
                    url: road.name(),
                    reason,
                })?;
                if errand.body.as_ref().is_some_and(Payload::is_secret)
                    && url.origin() != road.start.origin()
                {
                    // What is posted is a secret, such as a token that makes others.
                    let host = host_and_port(&url);
                    return Err(RemoteError::Unusable {
                        url: road.name(),
                        reason: format!(
                            "redirected to {host}, where the login that it was sent does not belong"
                        ),
                    }
                    .into());
                }
                if road.start.scheme() == "https" && url.scheme() == "http" {
                    let host = host_and_port(&url);
                    self.warn(format!(
                        "{}: redirected from https to http at {host}",
                        road.name()
                    ));
                }
                reply.discard(wait).await;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED
                && at_origin
                && let Access::Guard(guard) = &road.access
            {
                if refused {
                    return Err(guard.hopeless(road).await);
                }
                refused = true;
                let headers = reply.headers().clone();
                // Before a token is asked for, perhaps of the same server: an answer that is kept
                // counts as a request under way, and so many of them would leave none for the token.
                reply.discard(wait).await;
                guard
                    .refused(self, road, &headers, pass.as_ref(), wait)
                    .await?;
                continue;
            }
            if by_memory && has_expired(status) {
                road.remember(None);
                by_memory = false;
                url = road.start.clone();
                reply.discard(wait).await;
                continue;
            }
            if status.is_success() && url != road.start {
                road.remember(Some(url));
            }
            return Ok(reply);
        }
    }

    /// Registries tell their users things such as the end of a service by Warning headers.
    fn pass_on_warnings(&self, road: &Road, reply: &Reply) {
        for value in reply.headers().get_all(WARNING).iter().take(4) {
            let text = value
                .to_str()
                .ok()
                .and_then(|text| text.strip_prefix("299 - \""));
            if let Some(text) = text.and_then(|text| text.trim_end().strip_suffix('"')) {
                let text = failure::one_line(text, 300);
                self.warn(format!(
                    "{} says: {}",
                    host_and_port(&road.start),
                    text.replace("\\\"", "\"")
                ));
            }
        }
    }
}

/// What object stores say to a signed URL that is too old; S3 says 400 to expired tokens.
fn has_expired(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

/// Where an answer sends us, if it does.
fn redirect_target(reply: &Reply, from: &Url) -> Option<Result<Url, String>> {
    if !matches!(reply.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = reply.header(LOCATION)?;
    Some(match from.join(location) {
        Ok(mut url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            // A login in there would be sent by the library; nobody asked for it.
            url = without_login(url);
            url.set_fragment(None);
            Ok(url)
        }
        _ => Err("redirected to something that is no http or https URL".to_owned()),
    })
}

fn elsewhere(failure: Failure, url: &Url) -> Failure {
    match failure {
        Failure::Passing { reason, rest } => Failure::Passing {
            reason: format!("at {}, where it was sent: {reason}", host_and_port(url)),
            rest,
        },
        other => other,
    }
}

/// Sorts answers: those with what was asked for, and failures of each kind. 416 passes, since only
/// the asker knows what it means.
pub(super) async fn judge(reply: Reply, name: &str, wait: Duration) -> Result<Reply, Failure> {
    let status = reply.status();
    let url = name.to_owned();
    if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
        if let Some(encoding) = reply.encoding() {
            let reason =
                format!("the server sends it compressed ({encoding}) although asked not to");
            return Err(RemoteError::Unusable { url, reason }.into());
        }
        return Ok(reply);
    }
    let rest = reply.rest();
    let text = reply.body(ERROR_TEXT, wait).await.unwrap_or_default();
    let detail = describe(status, &text);
    Err(match status.as_u16() {
        408 | 425 | 429 | 500 | 502 | 503 | 504 => Failure::Passing {
            reason: format!("the server answers {detail}"),
            rest,
        },
        401 | 403 | 407 => RemoteError::Denied { url, detail }.into(),
        404 | 410 => RemoteError::NotFound { url, detail }.into(),
        412 => RemoteError::Changed { url, what: detail }.into(),
        _ => RemoteError::Unusable {
            url,
            reason: format!("the server answers {detail}"),
        }
        .into(),
    })
}

/// `404 Not Found`, and what a registry adds: `(NAME_UNKNOWN: repository name not known)`.
fn describe(status: StatusCode, body: &[u8]) -> String {
    let mut text = status.as_str().to_owned();
    if let Some(reason) = status.canonical_reason() {
        text = format!("{text} {reason}");
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let first = json.as_ref().and_then(|json| json.pointer("/errors/0"));
    let field = |name| {
        first
            .and_then(|error| error.get(name))
            .and_then(serde_json::Value::as_str)
    };
    let said: Vec<&str> = [field("code"), field("message")]
        .into_iter()
        .flatten()
        .collect();
    if !said.is_empty() {
        let said = failure::one_line(&said.join(": "), 200);
        text = format!("{text} ({said})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_registries_are_told() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#;
        assert_eq!(
            describe(StatusCode::FORBIDDEN, body),
            "403 Forbidden (DENIED: noway)"
        );
        assert_eq!(describe(StatusCode::NOT_FOUND, b"<html>"), "404 Not Found");
        assert_eq!(describe(StatusCode::from_u16(599).unwrap(), b""), "599");
    }
}
