//! As much of D-Bus as one method call takes: a connection, a message, its answer.
//!
//! A client library would bring an executor or threads, and this process must have one.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

/// No answer of systemd is nearly as long.
const MAX_MESSAGE: usize = 1 << 20;

/// systemd answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a message bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
}

/// A call to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Types of the body.
    pub(super) signature: &'a str,
    pub(super) body: &'a [u8],
}

impl Bus {
    /// Connects to the bus at `address` (`unix:path=…` or `unix:abstract=…`).
    pub(super) fn connect(address: &str, uid: u32) -> io::Result<Self> {
        let stream = UnixStream::connect_addr(&socket_address(address)?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream, serial: 0 };
        bus.authenticate(uid)?;
        bus.call(Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            signature: "",
            body: &[],
        })?;
        Ok(bus)
    }

    /// The socket proves who we are; the number only has to agree with it.
    fn authenticate(&mut self, uid: u32) -> io::Result<()> {
        let hex: String = uid
            .to_string()
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.stream
            .write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
            if line.len() > 1024 {
                return Err(wrong("a greeting without end"));
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.stream.write_all(b"BEGIN\r\n")
    }

    /// Makes `call` and waits for its answer; what the answer says is of no interest, only
    /// whether it is an error.
    pub(super) fn call(&mut self, call: Call<'_>) -> io::Result<()> {
        self.serial += 1;
        self.stream.write_all(&message(self.serial, call))?;
        loop {
            let answer = read_message(&mut self.stream)?;
            if answer.reply_to != Some(self.serial) {
                continue;
            }
            return match answer.kind {
                METHOD_RETURN => Ok(()),
                _ => Err(io::Error::other(answer.text)),
            };
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the message bus sent {what}"),
    )
}

fn socket_address(address: &str) -> io::Result<SocketAddr> {
    let unusable = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address:?} is not a 'unix:' socket"),
        )
    };
    let rest = address.strip_prefix("unix:").ok_or_else(unusable)?;
    for pair in rest.split(',') {
        match pair.split_once('=') {
            Some(("path", path)) => return SocketAddr::from_pathname(unescape(path)),
            Some(("abstract", name)) => return SocketAddr::from_abstract_name(unescape(name)),
            _ => {}
        }
    }
    Err(unusable())
}

/// Undoes the `%XX` of addresses.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(first));
        rest = if code.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Values in the little-endian form of messages, aligned as they must be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn align(&mut self, to: usize) {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array whose elements begin at multiples of `to`.
    pub(super) fn array(&mut self, to: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(to);
        let start = self.0.len();
        fill(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;

fn message(serial: u32, call: Call<'_>) -> Vec<u8> {
    let mut out = Encoder(vec![b'l', METHOD_CALL, 0, 1]);
    out.u32(u32::try_from(call.body.len()).unwrap_or(u32::MAX));
    out.u32(serial);
    out.array(8, |out| {
        for (code, kind, text) in [
            (1, "o", call.path),
            (6, "s", call.destination),
            (2, "s", call.interface),
            (3, "s", call.member),
        ] {
            out.align(8);
            out.0.push(code);
            out.signature(kind);
            out.string(text);
        }
        if !call.signature.is_empty() {
            out.align(8);
            out.0.push(8);
            out.signature("g");
            out.signature(call.signature);
        }
    });
    out.align(8);
    out.0.extend(call.body);
    out.0
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Answer {
    kind: u8,
    reply_to: Option<u32>,
    /// Of an error: its text, or its name.
    text: String,
}

fn read_message(stream: &mut impl Read) -> io::Result<Answer> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    if head[0] != b'l' {
        return Err(wrong("a message of another byte order"));
    }
    let word = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default()) as usize
    };
    let (body_length, fields_length) = (word(4), word(12));
    let padded = fields_length.checked_next_multiple_of(8);
    let total = padded.and_then(|padded| padded.checked_add(body_length));
    let total = total
        .filter(|&total| total <= MAX_MESSAGE)
        .ok_or_else(|| wrong("a message that is too long"))?;
    let mut rest = vec![0; total];
    stream.read_exact(&mut rest)?;
    let fields = rest.get(..fields_length).unwrap_or_default();
    let body = rest.get(total - body_length..).unwrap_or_default();
    parse(head[1], fields, body).ok_or_else(|| wrong("a message that makes no sense"))
}

fn parse(kind: u8, fields: &[u8], body: &[u8]) -> Option<Answer> {
    let mut answer = Answer {
        kind,
        reply_to: None,
        text: String::new(),
    };
    let mut body_type = String::new();
    let mut decoder = Decoder {
        bytes: fields,
        at: 0,
    };
    while decoder.at < fields.len() {
        decoder.align(8);
        let code = decoder.byte()?;
        let signature = decoder.signature()?;
        match signature.as_str() {
            "s" | "o" => {
                let text = decoder.string()?;
                if code == 4 {
                    answer.text = text;
                }
            }
            "g" => {
                let text = decoder.signature()?;
                if code == 8 {
                    body_type = text;
                }
            }
            "u" => {
                let number = decoder.u32()?;
                if code == 5 {
                    answer.reply_to = Some(number);
                }
            }
            _ => return None,
        }
    }
    if kind != METHOD_RETURN && body_type.starts_with('s') {
        let mut decoder = Decoder { bytes: body, at: 0 };
        answer.text = decoder.string()?;
    }
    Some(answer)
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Decoder<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte().filter(|&end| end == 0)?;
        Some(text)
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.text(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }
}

#[cfg(test)]
mod tests;
