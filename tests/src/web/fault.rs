//! What goes wrong, with which requests.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::content::place;
use super::request::{Answer, Body, Request};

/// One thing that servers, and what stands between them and us, are known to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Another status, with a line of text.
    Status(u16),
    /// 429, to be asked again after this many seconds.
    TooMany {
        /// `Retry-After`.
        seconds: u64,
    },
    /// The connection is reset after so much of the body.
    Reset {
        /// Bytes sent before.
        after: u64,
    },
    /// The connection is closed after so much of a body that was announced in full.
    Truncate {
        /// Bytes sent before.
        after: u64,
    },
    /// Nothing comes for a while after so much of the body; then the rest.
    Stall {
        /// Bytes sent before.
        after: u64,
        /// For how long.
        pause: Duration,
    },
    /// Other bytes than those asked for, and the header says so.
    WrongPlace,
    /// The right bytes, of a file that is said to be longer.
    WrongTotal,
    /// All of the file, whatever was asked for.
    WholeFile,
    /// Fewer bytes than `Content-Range` says, with a length that fits them.
    ShortLength,
    /// Packed for the way, though nobody asked for that.
    Gzip,
    /// Go there.
    Redirect(String),
}

/// How often a fault comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// With the next so many requests.
    Next(u64),
    /// With one of so many.
    OneOf(u64),
    /// Always.
    Always,
}

struct Rule {
    fault: Fault,
    when: When,
    seen: u64,
    on: Box<dyn Fn(&Request) -> bool + Send + Sync>,
}

/// The faults of a server.
#[derive(Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.lock();
        f.debug_list()
            .entries(rules.iter().map(|rule| (&rule.fault, rule.when)))
            .finish()
    }
}

impl Faults {
    /// `fault` comes with requests for ranges.
    pub fn add(&self, fault: Fault, when: When) {
        self.add_on(fault, when, |request| request.header("range").is_some());
    }

    /// `fault` comes with requests of which `on` says yes.
    pub fn add_on(
        &self,
        fault: Fault,
        when: When,
        on: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) {
        self.lock().push(Rule {
            fault,
            when,
            seen: 0,
            on: Box::new(on),
        });
    }

    /// No more faults.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What goes wrong with this request.
    pub fn of(&self, request: &Request) -> Option<Fault> {
        for rule in self.lock().iter_mut() {
            if !(rule.on)(request) {
                continue;
            }
            rule.seen += 1;
            let now = match rule.when {
                When::Next(count) => rule.seen <= count,
                When::OneOf(count) => rule.seen % count.max(1) == 0,
                When::Always => true,
            };
            if now {
                return Some(rule.fault.clone());
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// What becomes of an answer. Faults that concern the connection leave it as it is.
    pub fn apply(&self, answer: Answer) -> Answer {
        let (part, size) = match &answer.body {
            Body::Part(content, range) => (Some((content.clone(), range.clone())), content.size),
            Body::Bytes(_) => (None, 0),
        };
        match (self, part) {
            (Self::Status(status), _) => Answer::text(*status, "out of order, on purpose"),
            (Self::TooMany { seconds }, _) => {
                Answer::text(429, "not so fast").with("Retry-After", seconds.to_string())
            }
            (Self::Redirect(to), _) => Answer::redirect(to),
            (Self::WrongPlace, Some((content, range))) if answer.status == 206 => {
                let len = range.end - range.start;
                let start = if range.start >= 4096 {
                    range.start - 4096
                } else {
                    (range.start + 4096).min(size - len)
                };
                let moved = start..start + len;
                replaced(
                    answer,
                    "Content-Range",
                    &place(&moved, size),
                    Body::Part(content, moved),
                )
            }
            (Self::WrongTotal, Some((content, range))) if answer.status == 206 => {
                let place = place(&range, size + 4096);
                replaced(answer, "Content-Range", &place, Body::Part(content, range))
            }
            (Self::ShortLength, Some((content, range))) => Answer {
                body: Body::Part(
                    content,
                    range.start..range.end - (range.end - range.start) / 2,
                ),
                ..answer
            },
            (Self::WholeFile, Some((content, _))) => {
                let mut headers = answer.headers;
                headers.retain(|(name, _)| name != "Content-Range");
                Answer {
                    status: 200,
                    headers,
                    body: Body::Part(content, 0..size),
                }
            }
            (Self::Gzip, Some((content, range))) => {
                let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
                // A file that ended early is found out by whoever unpacks it.
                content.read(&mut bytes, range.start).ok();
                let answer = Answer {
                    body: Body::Bytes(gzip(&bytes)),
                    ..answer
                };
                answer.with("Content-Encoding", "gzip")
            }
            _ => answer,
        }
    }
}

fn replaced(answer: Answer, name: &str, value: &str, body: Body) -> Answer {
    let mut headers = answer.headers;
    headers.retain(|(own, _)| own != name);
    Answer {
        status: answer.status,
        headers,
        body,
    }
    .with(name, value)
}

/// The bytes in a gzip frame (RFC 1952), stored, not compressed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut pieces = bytes.chunks(0xffff).peekable();
    if bytes.is_empty() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(piece) = pieces.next() {
        let len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        out.push(u8::from(pieces.peek().is_none()));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(piece);
    }
    out.extend(crc32(bytes).to_le_bytes());
    out.extend(
        u32::try_from(bytes.len() & 0xffff_ffff)
            .unwrap_or(0)
            .to_le_bytes(),
    );
    out
}

/// The checksum of gzip.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}
