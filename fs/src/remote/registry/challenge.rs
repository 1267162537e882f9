//! WWW-Authenticate: how a server wants us to show who we are.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One way to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Challenge {
    /// A token from another server.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// User name and password.
    Basic,
}

impl Challenge {
    /// The best of what the headers offer: a token before a password.
    pub(in super::super) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let all: Vec<Self> = texts.flat_map(parse).collect();
        let bearer = all.iter().find(|it| matches!(it, Self::Bearer { .. }));
        bearer.or_else(|| all.first()).cloned()
    }
}

/// A header may hold several challenges, and the parameters of each are separated as they are.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find([' ', '\t', '=', ',']).unwrap_or(rest.len()));
        let after = after.trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                challenges.push((word.to_ascii_lowercase(), Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
        .into_iter()
        .filter_map(|(scheme, parameters)| known(&scheme, &parameters))
        .collect()
}

fn known(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    match scheme {
        "bearer" => Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
            scope: parameter("scope"),
        }),
        "basic" => Some(Challenge::Basic),
        _ => None,
    }
}

/// A word or a quoted text, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (word.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_read() {
        for (text, expected) in [
            ("Basic realm=\"x, y\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://a/t\",service=\"reg\",scope=\"repository:a/b:pull,push\"",
                vec![bearer(
                    "https://a/t",
                    Some("reg"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (
                "BEARER realm = https://a , error=\"insufficient_scope\"",
                vec![bearer("https://a", None, None)],
            ),
            (
                "Basic realm=\"r\", Bearer realm=\"q\\\"q\"",
                vec![Challenge::Basic, bearer("q\"q", None, None)],
            ),
            ("Negotiate, Basic", vec![Challenge::Basic]),
            ("Negotiate YII==, Basic realm=x", vec![Challenge::Basic]),
            ("Bearer service=x", vec![]),
            (
                "Bearer realm=\"unclosed",
                vec![bearer("unclosed", None, None)],
            ),
            (",,", vec![]),
            ("=", vec![]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_token_goes_before_a_password() {
        let mut headers = HeaderMap::new();
        assert_eq!(Challenge::of(&headers), None);
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        assert_eq!(Challenge::of(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=y".parse().unwrap());
        assert_eq!(Challenge::of(&headers), Some(bearer("y", None, None)));
    }
}
