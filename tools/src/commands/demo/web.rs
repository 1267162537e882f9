//! A web server on the loopback interface with one file on it, and a count of what it sent.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, RANGE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Read from the file and sent at a time.
const PIECE: u64 = 128 << 10;

/// Nothing more comes when nothing came for so long; and nobody waits longer than the other.
const QUIET_FOR: Duration = Duration::from_millis(100);
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// A running server; it ends with this value.
#[derive(Debug)]
pub(super) struct Web {
    address: SocketAddr,
    served: Arc<Served>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is served.
#[derive(Debug)]
struct Served {
    file: File,
    size: u64,
    name: String,
    sent: AtomicU64,
    requests: AtomicU64,
}

impl Web {
    /// Serves `file`, under its name.
    ///
    /// # Errors
    /// When the file cannot be opened, or there is no port or thread.
    pub(super) fn serve(path: &Path) -> Result<Self> {
        let file = File::open(path).context("opening the image")?;
        let size = file.metadata().context("looking at the image")?.len();
        let name = path.file_name().unwrap_or_default();
        let served = Arc::new(Served {
            file,
            size,
            name: format!("/{}", name.display()),
            sent: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a web server")?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("opening a port of the loopback interface")?;
        let address = listener.local_addr().context("opening a port")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let here = Arc::clone(&served);
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(&listener, &here) => {}
                        _ = stopped => {}
                    }
                });
            })
            .context("starting a web server")?;
        Ok(Self {
            address,
            served,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where the file is.
    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.served.name)
    }

    /// As [`Web::sent`], once what is read ahead for a program that has ended is through.
    pub(super) fn settled(&self) -> (u64, u64) {
        let begun = Instant::now();
        let mut before = self.sent();
        while begun.elapsed() < SETTLED_AFTER {
            std::thread::sleep(QUIET_FOR);
            let now = self.sent();
            if now == before {
                break;
            }
            before = now;
        }
        before
    }

    /// Bytes of the file that were sent so far, and requests for them.
    fn sent(&self) -> (u64, u64) {
        let sent = self.served.sent.load(Ordering::Relaxed);
        (sent, self.served.requests.load(Ordering::Relaxed))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends as soon as it is told; a panic in it was printed.
            drop(thread.join());
        }
    }
}

async fn accept(listener: &TcpListener, served: &Arc<Served>) {
    loop {
        // Out of descriptors for a moment: the next connection may have one.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let served = Arc::clone(served);
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let path = request.uri().path();
                let response = respond(&served, request.method(), path, request.headers());
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // A client that goes away is none of our business.
            connection.await.unwrap_or_default();
        });
    }
}

/// RFC 9110, chapter 14, for one range per request.
fn respond(
    served: &Arc<Served>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Response<Piece> {
    let size = served.size;
    let empty = Piece {
        served: Arc::clone(served),
        left: 0..0,
    };
    let mut response = Response::new(empty);
    if path != served.name {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    if method != Method::GET && method != Method::HEAD {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    let asked = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let mut wanted = 0..size;
    let mut set = |name, text: String| {
        if let Ok(value) = text.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(ACCEPT_RANGES, "bytes".to_owned());
    set(ETAG, format!("\"demo-{size}\""));
    if let Some(range) = asked.and_then(|text| range(text, size)) {
        let place = match range.is_empty() {
            true => format!("bytes */{size}"),
            false => format!("bytes {}-{}/{size}", range.start, range.end - 1),
        };
        set(CONTENT_RANGE, place);
        *response.status_mut() = match range.is_empty() {
            true => StatusCode::RANGE_NOT_SATISFIABLE,
            false => StatusCode::PARTIAL_CONTENT,
        };
        wanted = range;
    }
    let length = wanted.end - wanted.start;
    if let Ok(value) = length.to_string().parse() {
        response.headers_mut().insert(CONTENT_LENGTH, value);
    }
    if method == Method::GET {
        served.requests.fetch_add(1, Ordering::Relaxed);
        response.body_mut().left = wanted;
    }
    response
}

/// What `Range: bytes=…` asks for; empty when nothing of it is there, `None` when it makes no sense
/// or asks for several pieces, which may be ignored.
fn range(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some(size.saturating_sub(count)..size);
    }
    let first: u64 = first.parse().ok()?;
    let end = match last {
        "" => size,
        last => last.parse::<u64>().ok()?.checked_add(1)?.min(size),
    };
    Some(first.min(end)..end)
}

/// A part of the file as the body of an answer.
struct Piece {
    served: Arc<Served>,
    left: Range<u64>,
}

impl Body for Piece {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let wanted = (self.left.end - self.left.start).min(PIECE);
        if wanted == 0 {
            return Poll::Ready(None);
        }
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or_default()];
        // A local file: not worth another thread.
        let read = self.served.file.read_exact_at(&mut bytes, self.left.start);
        self.left.start += wanted;
        self.served.sent.fetch_add(wanted, Ordering::Relaxed);
        Poll::Ready(Some(read.map(|()| Frame::data(Bytes::from(bytes)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=0-9", 100), Some(0..10));
        assert_eq!(range("bytes=90-199", 100), Some(90..100));
        assert_eq!(range("bytes=90-", 100), Some(90..100));
        assert_eq!(range("bytes=-5", 100), Some(95..100));
        assert_eq!(range("bytes=100-200", 100), Some(100..100));
        for text in ["bytes=1-2,4-5", "lines=1-2", "bytes=x-", "bytes=-"] {
            assert_eq!(range(text, 100), None, "{text}");
        }
    }

    #[test]
    fn a_part_over_the_wire() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sif");
        std::fs::write(&path, b"0123456789").unwrap();
        let web = Web::serve(&path).unwrap();
        let ask = |line: &str, range: &str| {
            let mut stream = TcpStream::connect(web.address).unwrap();
            let text = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{range}\r\n");
            stream.write_all(text.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = ask("GET /x.sif", "Range: bytes=2-4\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 206") && answer.ends_with("\r\n\r\n234"),
            "{answer}"
        );
        assert_eq!(web.sent(), (3, 1));
        assert!(ask("GET /x.sif", "").ends_with("\r\n\r\n0123456789"));
        assert!(ask("GET /y", "").starts_with("HTTP/1.1 404"));
        assert!(ask("HEAD /x.sif", "").contains("content-length: 10"));
        assert_eq!(web.sent(), (13, 2));
    }
}
