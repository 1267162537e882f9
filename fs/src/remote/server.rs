//! A server for tests: it does what a function of each request says, step by step, with real
//! sockets.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
    /// How many came before it.
    pub(super) number: usize,
}

/// What to do about it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(u64),
    Close,
    Reset,
}

type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

/// Runs until dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The range asked for, of a file of `size` bytes.
    pub(super) fn range(&self, size: usize) -> Option<(usize, usize)> {
        let (first, last) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some((first, (last + 1).min(size)))
    }
}

impl Server {
    pub(super) fn start(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    pub(super) fn start_at(
        address: SocketAddr,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::run(address, None, script)
    }

    /// Speaks https.
    pub(super) fn start_tls(
        tls: rustls::ServerConfig,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::run(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            Some(Arc::new(tls)),
            script,
        )
    }

    fn run(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let script: Arc<Script> = Arc::new(script);
        let (log_too, stop_too) = (Arc::clone(&log), Arc::clone(&stop));
        let listening = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop_too.load(SeqCst) {
                    break;
                }
                let (log, script, tls) = (Arc::clone(&log_too), Arc::clone(&script), tls.clone());
                thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let raw = stream.try_clone().unwrap();
                    match tls {
                        None => serve(stream, &raw, &log, &*script),
                        Some(tls) => {
                            let connection = rustls::ServerConnection::new(tls).unwrap();
                            serve(
                                rustls::StreamOwned::new(connection, stream),
                                &raw,
                                &log,
                                &*script,
                            );
                        }
                    }
                });
            }
        });
        Self {
            address,
            log,
            stop,
            listening: Some(listening),
        }
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(super) fn log(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // Wakes the listener, and waits until its port is free.
        drop(TcpStream::connect(self.address));
        if let Some(listening) = self.listening.take() {
            listening.join().unwrap();
        }
    }
}

fn serve(stream: impl Read + Write, raw: &TcpStream, log: &Mutex<Vec<Request>>, script: &Script) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read(&mut stream) {
        {
            let mut log = log.lock().unwrap();
            request.number = log.len();
            log.push(request.clone());
        }
        for step in script(&request) {
            match step {
                Step::Send(bytes) => {
                    let stream = stream.get_mut();
                    if stream
                        .write_all(&bytes)
                        .and_then(|()| stream.flush())
                        .is_err()
                    {
                        return;
                    }
                }
                Step::Wait(ms) => thread::sleep(Duration::from_millis(ms)),
                Step::Close => {
                    drop(raw.shutdown(std::net::Shutdown::Both));
                    return;
                }
                Step::Reset => {
                    let now = Some(Duration::ZERO);
                    rustix::net::sockopt::set_socket_linger(raw, now).unwrap();
                    return;
                }
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|it| it.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Some(Request {
        method,
        target,
        headers,
        body,
        number: 0,
    })
}

/// An answer with a status line like `200 OK`, header lines, and a body.
pub(super) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<Step> {
    let mut bytes = head(status, headers, body.len());
    bytes.extend_from_slice(body);
    vec![Step::Send(bytes)]
}

/// The head alone, with a length that may be a lie.
fn head(status: &str, headers: &[&str], length: usize) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A file as a good server gives it: the range asked for, or all.
pub(super) fn file(request: &Request, data: &[u8], headers: &[&str]) -> Vec<Step> {
    let Some((first, end)) = request.range(data.len()) else {
        return answer("200 OK", headers, data);
    };
    let content = format!("Content-Range: bytes {first}-{}/{}", end - 1, data.len());
    let headers: Vec<&str> = headers.iter().copied().chain([content.as_str()]).collect();
    answer("206 Partial Content", &headers, &data[first..end])
}

/// The same, with only `sent` bytes of the body before `last` happens.
pub(super) fn broken_file(
    request: &Request,
    data: &[u8],
    sent: usize,
    last: Vec<Step>,
) -> Vec<Step> {
    let (first, end) = request.range(data.len()).unwrap();
    let content = format!("Content-Range: bytes {first}-{}/{}", end - 1, data.len());
    let mut bytes = head("206 Partial Content", &[&content], end - first);
    bytes.extend_from_slice(&data[first..(first + sent).min(end)]);
    let mut steps = vec![Step::Send(bytes)];
    steps.extend(last);
    steps
}
