//! One request and its answer: connections, proxies, and how many requests at a time.
//!
//! HTTP/1.1 on purpose: a request that is doubled because its answer is late must travel on another
//! connection, and several connections carry bulk data faster than the streams of one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, NoProxy, Proxy, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::error::RemoteError;
use super::failure::{self, Failure};
use super::observer::seconds;
use super::options::RemoteOptions;
use super::payload::Payload;
use super::reference::{host_and_port, shown};
use super::tls::{self, SiteFiles};

const USER_AGENT: &str = concat!("skiff/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than servers and firewalls keep an idle connection, as a rule.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// This machine is not reached by way of another, whatever the variables say: so it is in programs
/// written in Go, and users of those do not name it.
const NEVER_PROXIED: &str = "localhost,127.0.0.0/8,::1";
/// How long a registry may need to work out the digest of what it was sent, on slow disks.
const DIGESTION: Duration = Duration::from_secs(300);
/// How much of an answer that nobody wants is read so that its connection can be used again.
const DRAIN: usize = 16 << 10;

/// What to ask.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Payload>,
    /// Any certificate will do.
    pub(super) insecure: bool,
}

/// Connections to all servers.
#[derive(Debug)]
pub(super) struct Transport {
    options: RemoteOptions,
    clients: Mutex<HashMap<Profile, reqwest::Client>>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Servers that are met with the same certificates share a pool of connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Profile {
    /// No TLS.
    Plain,
    /// The system's authorities.
    Usual,
    /// A server with files of its own in certs.d, or whose certificate does not matter.
    Site {
        host: String,
        port: u16,
        insecure: bool,
    },
}

/// The head of an answer, and its body to come.
#[derive(Debug)]
pub(super) struct Reply {
    response: reqwest::Response,
    /// How long the head took.
    pub(super) after: Duration,
    _turn: OwnedSemaphorePermit,
}

impl Transport {
    pub(super) fn new(options: RemoteOptions) -> Self {
        Self {
            options,
            clients: Mutex::default(),
            gates: Mutex::default(),
        }
    }

    /// Asks, and waits for the head of the answer at most `wait`.
    pub(super) async fn send(&self, ask: Ask, wait: Duration) -> Result<Reply, Failure> {
        let name = shown(&ask.url);
        let client = self.client(&ask)?;
        let gate = self.gate(&ask.url);
        let Ok(Ok(turn)) = timeout(wait, gate.acquire_owned()).await else {
            return Err(Failure::passing(
                "too many requests are waiting for this server",
            ));
        };
        let mut request = client.request(ask.method, ask.url).headers(ask.headers);
        request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut progress = None;
        if let Some(body) = ask.body {
            progress = body.progress();
            request = request.body(body);
        }
        let start = Instant::now();
        let answer = request.send();
        let answered = match progress {
            None => timeout(wait, answer).await,
            Some(sent) => while_it_moves(answer, &sent, wait).await,
        };
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure::of_library(&error.without_url(), &name)),
            Err(_) => return Err(Failure::passing(format!("no answer for {}", seconds(wait)))),
        };
        Ok(Reply {
            response,
            after: start.elapsed(),
            _turn: turn,
        })
    }

    fn gate(&self, url: &Url) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.options.requests_per_host.max(1)));
        Arc::clone(gates.entry(host_and_port(url)).or_insert_with(new))
    }

    fn client(&self, ask: &Ask) -> Result<reqwest::Client, RemoteError> {
        let places = &self.options.places;
        let host = ask.url.host_str().unwrap_or_default();
        let port = ask.url.port_or_known_default().unwrap_or_default();
        let site = Profile::Site {
            host: host.to_owned(),
            port,
            insecure: ask.insecure,
        };
        // Held while a client is made: others would only make the same.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if ask.url.scheme() == "https"
            && let Some(client) = clients.get(&site)
        {
            return Ok(client.clone());
        }
        let (profile, files) = if ask.url.scheme() == "https" {
            match SiteFiles::find(places, host, port) {
                None if !ask.insecure => (Profile::Usual, None),
                files => (site.clone(), files),
            }
        } else {
            (Profile::Plain, None)
        };
        let client = match clients.get(&profile) {
            Some(client) => client.clone(),
            None => {
                let tls = match profile {
                    Profile::Plain => tls::nobody()?,
                    _ => tls::config(places, files.as_ref(), ask.insecure)?,
                };
                let client = self.build(tls)?;
                clients.insert(profile, client.clone());
                client
            }
        };
        if ask.url.scheme() == "https" {
            // The next request need not look for files.
            clients.insert(site, client.clone());
        }
        Ok(client)
    }

    fn build(&self, tls: rustls::ClientConfig) -> Result<reqwest::Client, RemoteError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(self.options.stall_after))
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(self.options.requests_per_host)
            .tcp_nodelay(true)
            .http1_only()
            .no_proxy()
            .tls_backend_preconfigured(tls);
        let proxies = &self.options.proxies;
        let except = proxies.except.as_deref().unwrap_or_default();
        let except = || NoProxy::from_string(&format!("{NEVER_PROXIED},{except}"));
        for (variable, url, make) in [
            (
                "HTTP_PROXY",
                &proxies.http,
                (|url| Proxy::http(url)) as fn(&str) -> reqwest::Result<Proxy>,
            ),
            ("HTTPS_PROXY", &proxies.https, |url| Proxy::https(url)),
            ("ALL_PROXY", &proxies.all, |url| Proxy::all(url)),
        ] {
            let Some(url) = url else { continue };
            let proxy = make(url).map_err(|_| RemoteError::Configuration {
                file: variable.to_owned(),
                reason: "not the URL of a proxy".to_owned(),
            })?;
            builder = builder.proxy(proxy.no_proxy(except()));
        }
        builder.build().map_err(|error| RemoteError::Configuration {
            file: "network".to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Waits for an answer as long as there is something to send, and then as long as a registry may need
/// to look at all of it.
async fn while_it_moves<T>(
    answer: impl Future<Output = T>,
    sent: &AtomicU64,
    wait: Duration,
) -> Result<T, Elapsed> {
    let mut answer = pin!(answer);
    let mut before = sent.load(Relaxed);
    let mut still = Duration::ZERO;
    loop {
        match timeout(wait, &mut answer).await {
            Ok(answered) => return Ok(answered),
            Err(elapsed) => {
                let now = sent.load(Relaxed);
                still = if now == before {
                    still + wait
                } else {
                    Duration::ZERO
                };
                before = now;
                if still >= DIGESTION.max(wait) {
                    return Err(elapsed);
                }
            }
        }
    }
}

impl Reply {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text.
    pub(super) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// What the server says the body's length is.
    pub(super) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// How the body is encoded, if it is.
    pub(super) fn encoding(&self) -> Option<&str> {
        self.header(CONTENT_ENCODING)
            .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    }

    /// What the server asks us to wait.
    pub(super) fn rest(&self) -> Option<Duration> {
        failure::rest_asked(self.headers(), SystemTime::now())
    }

    /// The next piece of the body, none at its end; an end that comes too early is an error.
    pub(super) async fn piece(
        &mut self,
        wait: Duration,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        match timeout(wait, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => {
                let url = shown(self.response.url());
                Err(match failure::of_library(&error.without_url(), &url) {
                    Failure::Passing { reason, .. } => {
                        Failure::passing(format!("the connection broke off: {reason}"))
                    }
                    other => other,
                })
            }
            Err(_) => Err(Failure::passing(format!("no data for {}", seconds(wait)))),
        }
    }

    /// The first bytes of the body, at least as many as asked for unless it ends before. Meant for
    /// short texts: they must come in a few times `wait` altogether.
    pub(super) async fn beginning(
        &mut self,
        enough: u64,
        wait: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let deadline = Instant::now() + wait * 4;
        while (bytes.len() as u64) < enough {
            if Instant::now() > deadline {
                return Err(Failure::passing("data comes too slowly"));
            }
            match self.piece(wait).await? {
                Some(piece) => bytes.extend_from_slice(piece.as_ref()),
                None => break,
            }
        }
        Ok(bytes)
    }

    /// The whole body, if it is no longer than `limit`.
    pub(super) async fn body(mut self, limit: usize, wait: Duration) -> Result<Vec<u8>, Failure> {
        let body = self.beginning(limit as u64 + 1, wait).await?;
        if body.len() > limit {
            let (url, reason) = (
                shown(self.response.url()),
                format!("the answer is longer than {limit} bytes"),
            );
            return Err(Failure::Final(RemoteError::Unusable { url, reason }));
        }
        Ok(body)
    }

    /// Reads what is left of a short body nobody wants, so that its connection can be used again.
    pub(super) async fn discard(self, wait: Duration) {
        if self.length().is_some_and(|length| length <= DRAIN as u64) {
            let wait = wait.min(Duration::from_secs(1));
            // Should this fail, the connection is merely not used again.
            drop(self.body(DRAIN, wait).await);
        }
    }
}
