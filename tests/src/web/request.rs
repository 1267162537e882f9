//! One request, and the answer that a handler gives to it.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::content::Content;

/// More than any client here has to say.
const LONGEST_HEAD: u64 = 64 << 10;

/// What a client asks.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// What follows the `?`, as sent.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What came with it.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the next one of a connection; `None` at its end.
    ///
    /// # Errors
    /// Those of the connection, or what is no request.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = stream.take(LONGEST_HEAD);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::Error::other(format!("no request: {line:?}")));
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Self::default()
        };
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
            let name = name.trim().to_ascii_lowercase();
            request.headers.push((name, value.trim().to_owned()));
        }
        let length = request.header("content-length").unwrap_or("0");
        let length: u64 = length.parse().map_err(io::Error::other)?;
        head.into_inner()
            .take(length.min(LONGEST_HEAD))
            .read_to_end(&mut request.body)?;
        Ok(Some(request))
    }

    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name)?;
        Some(&found.1)
    }

    /// Whether the client wants the connection closed.
    pub fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The values of a parameter of the query or of a form, decoded.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        [self.query.as_str(), body.as_str()]
            .into_iter()
            .flat_map(|text| text.split('&'))
            .filter_map(|pair| pair.split_once('='))
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| decoded(value))
            .collect()
    }

    /// The bytes asked for of a file of this size: `None` means all (no range, or one of a kind that
    /// servers may pass by), an empty range one that cannot be had.
    pub fn range(&self, size: u64) -> Option<Range<u64>> {
        let (from, to) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        let range = match (from.parse::<u64>(), to.parse::<u64>()) {
            (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(size),
            (Ok(from), Err(_)) if to.is_empty() => from..size,
            (Err(_), Ok(last)) if from.is_empty() => size.saturating_sub(last)..size,
            _ => return None,
        };
        Some(range.start.min(range.end)..range.end)
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |bytes: &mut std::str::Bytes<'_>| {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        };
        match byte {
            b'+' => out.push(b' '),
            b'%' => out.push(hex(&mut bytes).unwrap_or(b'?')),
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a server answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers; the length is added by the server.
    pub headers: Vec<(String, String)>,
    /// What follows the headers.
    pub body: Body,
}

/// What follows the headers.
#[derive(Clone, Debug)]
pub enum Body {
    /// Text and documents.
    Bytes(Vec<u8>),
    /// A piece of an image: what counts as data.
    Part(Content, Range<u64>),
}

impl Body {
    /// How long it is.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part(_, range) => range.end.saturating_sub(range.start),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Answer {
    /// A status and a line of text.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
            body: Body::Bytes(format!("{text}\n").into_bytes()),
        }
    }

    /// A document.
    pub fn document(media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type".to_owned(), media_type.to_owned())],
            body: Body::Bytes(bytes.into()),
        }
    }

    /// Go there.
    pub fn redirect(to: &str) -> Self {
        Self::text(307, "elsewhere").with("Location", to)
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The words after a status.
pub fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
