//! Signed tokens as registries want them (JWT, RFC 7519; the registry's own token documents).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, SigningKey};

use super::request::{Answer, Request};
use super::server::Handler;

/// Who signs tokens.
#[derive(Debug)]
pub struct Signer {
    key: KeyPair,
    chain: String,
    /// The certificate that a registry has to know (`rootcertbundle`), PEM.
    pub certificate: String,
    /// The issuer's name.
    pub issuer: String,
    /// For whom the tokens are.
    pub service: String,
}

impl Signer {
    /// A new one.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn new(issuer: &str, service: &str) -> Self {
        let key = KeyPair::generate().expect("randomness");
        let certificate = CertificateParams::new(vec![issuer.to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a good name");
        Self {
            chain: STANDARD.encode(certificate.der()),
            certificate: certificate.pem(),
            issuer: issuer.to_owned(),
            service: service.to_owned(),
            key,
        }
    }

    /// A token for what `scopes` ask (`repository:NAME:ACTIONS`), good until `until`.
    ///
    /// # Panics
    /// When the key cannot sign.
    pub fn token(&self, subject: &str, scopes: &[String], until: SystemTime) -> String {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_secs()
        };
        let access: Vec<_> = scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions: Vec<_> = actions.split(',').collect();
                Some(serde_json::json!({"type": kind, "name": name, "actions": actions}))
            })
            .collect();
        // Clocks may differ.
        let begin = SystemTime::now() - Duration::from_secs(300);
        let header = serde_json::json!({"typ": "JWT", "alg": "ES256", "x5c": [self.chain]});
        let claims = serde_json::json!({
            "iss": self.issuer, "sub": subject, "aud": self.service, "exp": seconds(until),
            "nbf": seconds(begin), "iat": seconds(begin),
            "jti": format!("{:?}", std::time::Instant::now()), "access": access,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.key.sign(signed.as_bytes()).expect("a good key");
        let signature = fixed(&signature).expect("two numbers");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An ECDSA signature as the two numbers side by side (RFC 7518, 3.4), from their ASN.1 form: a
/// sequence of two integers, each at most 33 bytes long.
fn fixed(signature: &[u8]) -> Option<Vec<u8>> {
    let mut rest = signature.get(2..)?;
    let mut out = Vec::with_capacity(64);
    for _ in 0..2 {
        let (&[_, len], tail) = rest.split_first_chunk()?;
        let number = tail.get(..usize::from(len))?;
        rest = tail.get(usize::from(len)..)?;
        // Without the zero that keeps it positive, with those that make it 32 bytes.
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend(number);
    }
    Some(out)
}

/// Gives out tokens for a registry that knows [`Signer::certificate`], to those who have the login,
/// if there is one.
#[derive(Debug)]
pub struct TokenServer {
    /// Who signs.
    pub signer: Signer,
    /// How long from now a token says it is good; Docker's registry adds a minute.
    pub lifetime: Duration,
    /// Whether tokens are dated back by that minute.
    pub dated_back: bool,
    /// Name and password.
    pub login: Option<(String, String)>,
}

impl Handler for TokenServer {
    fn answer(&self, request: &Request) -> Answer {
        let given = request.header("authorization").unwrap_or_default();
        let subject = match &self.login {
            None => "anybody",
            Some((name, password)) => {
                let wanted = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
                if given != wanted {
                    return Answer::text(401, "who are you?");
                }
                name
            }
        };
        let mut until = SystemTime::now() + self.lifetime;
        if self.dated_back {
            until -= Duration::from_secs(60);
        }
        let token = self
            .signer
            .token(subject, &request.parameters("scope"), until);
        let answer = serde_json::json!({"token": token, "access_token": token});
        Answer::document("application/json", answer.to_string())
    }
}
