//! Being let in by a registry: its challenge is remembered, and what answers it is kept until it is
//! nearly too old. Threads that need a token at the same time wait for the one that asks for it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::super::client::Client;
use super::super::error::RemoteError;
use super::super::exchange::{Access, Errand, judge};
use super::super::failure::Failure;
use super::super::payload::Payload;
use super::super::reference::shown;
use super::super::resolve::basic;
use super::super::roads::Road;
use super::challenge::Challenge;
use super::config_file::Credentials;
use super::credentials;

/// What a token without a stated life lives: the specification says so.
const USUAL_LIFE: u64 = 60;
/// A token is replaced when this much of its life is over.
const FRESH: f64 = 0.8;
const MAX_TOKEN: usize = 4 << 20;

/// The door of one repository on one server.
#[derive(Debug)]
pub(in super::super) struct Guard {
    registry: String,
    repository: String,
    /// The user named this registry; it is no mirror.
    own: bool,
    /// What is asked for is not only to read.
    writes: AtomicBool,
    /// Held while a token is asked for, so that it is asked for once.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    pass: Option<Pass>,
    /// Looked up once; `None` before.
    credentials: Option<Option<Credentials>>,
}

/// A header that opens the door.
#[derive(Clone, Debug)]
struct Pass {
    header: HeaderValue,
    replace_at: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Guard {
    pub(super) fn new(registry: String, repository: String, own: bool) -> Self {
        Self {
            registry,
            repository,
            own,
            writes: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// From now on tokens must be good for writing, where the registry does not say what for.
    pub(super) fn will_write(&self) {
        self.writes.store(true, Relaxed);
    }

    /// For a registry as a whole, with a login that is to be tried.
    pub(super) fn with_credentials(registry: String, credentials: Credentials) -> Self {
        let state = State {
            credentials: Some(Some(credentials)),
            ..State::default()
        };
        Self {
            registry,
            repository: String::new(),
            own: true,
            writes: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// The header to send, as far as is known: before the first challenge that is none.
    pub(in super::super) async fn header(
        &self,
        client: &Client,
        road: &Road,
        wait: Duration,
    ) -> Result<Option<HeaderValue>, Failure> {
        let mut state = self.state.lock().await;
        let is_old = |pass: &Pass| pass.replace_at.is_some_and(|at| at <= Instant::now());
        if state.pass.as_ref().is_some_and(is_old) {
            state.pass = None;
            self.answer(client, road, &mut state, wait).await?;
        }
        Ok(state.pass.as_ref().map(|pass| pass.header.clone()))
    }

    /// The server refused what we sent, in an answer with these headers. Gets something better, or
    /// says why that is impossible.
    pub(in super::super) async fn refused(
        &self,
        client: &Client,
        road: &Road,
        reply: &HeaderMap,
        sent: Option<&HeaderValue>,
        wait: Duration,
    ) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        let is_newer = |pass: &Pass| Some(&pass.header) != sent;
        if state.pass.as_ref().is_some_and(is_newer) {
            // Somebody else has something newer already. Nothing is not newer: whoever was to fetch
            // it has failed.
            return Ok(());
        }
        let Some(challenge) = Challenge::of(reply) else {
            return Err(self.denied(road, "the registry does not say how to log in"));
        };
        state.challenge = Some(challenge);
        state.pass = None;
        self.answer(client, road, &mut state, wait).await
    }

    /// The server refused even what its own challenge led to.
    pub(in super::super) async fn hopeless(&self, road: &Road) -> Failure {
        let state = self.state.lock().await;
        match state.credentials {
            Some(Some(_)) => self.denied(road, "the registry does not take this login"),
            _ => self.denied(road, "a login is needed"),
        }
    }

    async fn answer(
        &self,
        client: &Client,
        road: &Road,
        state: &mut State,
        wait: Duration,
    ) -> Result<(), Failure> {
        let credentials = match &state.credentials {
            Some(known) => known.clone(),
            None => {
                let found = credentials::find(
                    client.options(),
                    &self.registry,
                    &self.repository,
                    self.own,
                )?;
                state.credentials.insert(found).clone()
            }
        };
        state.pass = match state.challenge.clone() {
            None => None,
            Some(Challenge::Basic) => match credentials {
                Some(Credentials::Password { username, password }) => basic(&username, &password)
                    .map(|header| Pass {
                        header,
                        replace_at: None,
                    }),
                _ => return Err(self.denied(road, "a login is needed")),
            },
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let actions = match self.writes.load(Relaxed) {
                    true => "pull,push",
                    false => "pull",
                };
                let own = || format!("repository:{}:{actions}", self.repository);
                let scope = match scope {
                    None if self.repository.is_empty() => String::new(),
                    scope => scope.unwrap_or_else(own),
                };
                let request = TokenRequest {
                    realm,
                    service,
                    scope,
                    credentials,
                };
                Some(self.token(client, road, request, wait).await?)
            }
        };
        Ok(())
    }

    async fn token(
        &self,
        client: &Client,
        road: &Road,
        request: TokenRequest,
        wait: Duration,
    ) -> Result<Pass, Failure> {
        let unusable = |reason: String| RemoteError::Unusable {
            url: road.name(),
            reason,
        };
        let url = Url::parse(&request.realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                unusable("the registry sends us to something that is no token server".to_owned())
            })?;
        if road.start.scheme() == "https" && url.scheme() == "http" && request.credentials.is_some()
        {
            let reason =
                "the registry's token server has no https; passwords are not sent there".to_owned();
            return Err(unusable(reason).into());
        }
        let name = shown(&url);
        let insecure = road.insecure && url.host_str() == road.start.host_str();
        let (errand, road_there) = request.errand(url, insecure);
        let start = Instant::now();
        // Boxed: an errand may lead to a guard, and a guard to an errand.
        let reply = Box::pin(client.exchange(&errand, &road_there, wait)).await?;
        let reply = match judge(reply, &name, wait).await {
            Err(Failure::Final(RemoteError::Denied { detail, .. })) => {
                return Err(self.denied(road, &format!("its token server answers {detail}")));
            }
            other => other?,
        };
        let body = reply.body(MAX_TOKEN, wait).await?;
        // The parser's text is left out: it might repeat what it read.
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| {
            unusable(format!(
                "the answer of the token server {name} cannot be understood"
            ))
        })?;
        let token = answer
            .token
            .filter(|token| !token.is_empty())
            .or(answer.access_token)
            .unwrap_or_default();
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .ok()
            .filter(|_| !token.is_empty())
            .ok_or_else(|| unusable(format!("the token server {name} sends no token")))?;
        header.set_sensitive(true);
        let life = answer
            .expires_in
            .filter(|&life| life > 0)
            .unwrap_or(USUAL_LIFE)
            .min(24 * 3600);
        let replace_at = Some(start + Duration::from_secs(life).mul_f64(FRESH));
        Ok(Pass { header, replace_at })
    }

    fn denied(&self, road: &Road, detail: &str) -> Failure {
        let mut detail = detail.to_owned();
        // Whoever is just logging in need not be told how.
        if !self.repository.is_empty() {
            detail = format!("{detail} (skiff registry login oras://{})", self.registry);
        }
        let url = road.name();
        RemoteError::Denied { url, detail }.into()
    }
}

struct TokenRequest {
    realm: String,
    service: Option<String>,
    scope: String,
    credentials: Option<Credentials>,
}

impl TokenRequest {
    /// GET with a password or without, POST with an identity token: OAuth2 wants that.
    fn errand(self, mut url: Url, insecure: bool) -> (Errand, Road) {
        let service = self.service.as_deref().map(|service| ("service", service));
        let mut pairs: Vec<(&str, &str)> = service.into_iter().collect();
        // Several scopes are separated by blanks; GET wants them one by one.
        pairs.extend(
            self.scope
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(|scope| ("scope", scope)),
        );
        let (method, access, body) = match &self.credentials {
            Some(Credentials::Identity { token }) => {
                // A URL knows how to write a form.
                let mut form = url.clone();
                form.set_query(None);
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "skiff")
                    .extend_pairs(service)
                    .append_pair("scope", &self.scope)
                    .append_pair("refresh_token", token);
                let body = form.query().map(|form| Payload::secret(form.to_owned()));
                (Method::POST, Access::Open, body)
            }
            Some(Credentials::Password { username, password }) => {
                url.query_pairs_mut()
                    .extend_pairs(pairs)
                    .append_pair("account", username);
                (
                    Method::GET,
                    basic(username, password).map_or(Access::Open, Access::Header),
                    None,
                )
            }
            None => {
                url.query_pairs_mut().extend_pairs(pairs);
                (Method::GET, Access::Open, None)
            }
        };
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
        }
        (
            Errand {
                method,
                headers,
                body,
            },
            Road::new(url, access, insecure),
        )
    }
}
