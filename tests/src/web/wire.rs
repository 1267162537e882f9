//! One connection, plain or TLS, and the sending of answers over it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::fault::Fault;
use super::log::Entry;
use super::request::{Answer, Body, phrase};

/// How much is sent at once.
const PIECE: usize = 64 << 10;

/// A socket that can be shut down by whoever else knows it.
#[derive(Clone, Debug)]
pub(super) struct Socket(pub(super) Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

#[derive(Debug)]
pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Wire {
    pub(super) fn new(socket: Socket, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        Ok(match tls {
            None => Self::Plain(socket),
            Some(config) => {
                let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Self::Tls(Box::new(StreamOwned::new(connection, socket)))
            }
        })
    }

    /// Sends an answer the way `fault` has it; returns whether the connection can go on.
    pub(super) fn send(
        &mut self,
        answer: &Answer,
        fault: Option<&Fault>,
        head_only: bool,
        entry: &Entry,
    ) -> io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, phrase(answer.status));
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let len = answer.body.len();
        if answer.status != 304 {
            head.push_str(&format!("Content-Length: {len}\r\n"));
        }
        head.push_str("\r\n");
        let mut out = head.into_bytes();
        let (stop, pause) = match fault {
            Some(Fault::Reset { after } | Fault::Truncate { after }) => (Some(*after), None),
            Some(Fault::Stall { after, pause }) => (None, Some((*after, *pause))),
            _ => (None, None),
        };
        // A fault of the body has to come before its end.
        let stop = stop.map(|after| after.min(len.saturating_sub(1)));
        let mut pause = pause.map(|(after, pause)| (after.min(len.saturating_sub(1)), pause));
        if head_only {
            self.write_all(&out)?;
            self.flush()?;
            return Ok(stop.is_none());
        }
        let end = stop.unwrap_or(len);
        let mut at = 0;
        loop {
            if let Some((after, time)) = pause
                && at == after
            {
                self.write_all(&out)?;
                self.flush()?;
                out.clear();
                pause = None;
                std::thread::sleep(time);
            }
            if at >= end {
                break;
            }
            let until = pause.map_or(end, |(after, _)| after).min(at + PIECE as u64);
            let before = out.len();
            append(&mut out, &answer.body, at, until)?;
            let added = out.len() - before;
            self.write_all(&out)?;
            out.clear();
            entry.add(added);
            at = until;
        }
        self.write_all(&out)?;
        self.flush()?;
        match fault {
            Some(Fault::Reset { .. }) => {
                // With nothing allowed to linger, closing is resetting. What was sent may be lost
                // with it unless it is given a moment.
                std::thread::sleep(Duration::from_millis(5));
                rustix::net::sockopt::set_socket_linger(&*self.socket().0, Some(Duration::ZERO))?;
                Ok(false)
            }
            Some(Fault::Truncate { .. }) => {
                self.socket().0.shutdown(Shutdown::Both)?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

fn append(out: &mut Vec<u8>, body: &Body, from: u64, to: u64) -> io::Result<()> {
    let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
    match body {
        Body::Bytes(bytes) => out.extend(bytes.get(place(from)?..place(to)?).unwrap_or_default()),
        Body::Part(content, range) => {
            let start = out.len();
            out.resize(start + place(to - from)?, 0);
            let mut filled = start;
            while filled < out.len() {
                let offset = range.start + from + (filled - start) as u64;
                match content.read(&mut out[filled..], offset)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => filled += read,
                }
            }
        }
    }
    Ok(())
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
