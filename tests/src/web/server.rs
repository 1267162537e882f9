//! The server itself: a thread per connection, nothing clever.

use std::fmt;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;

use super::fault::Faults;
use super::log::{Entry, Log};
use super::request::{Answer, Body, Request};
use super::wire::{Socket, Wire};

/// What a server has to offer.
pub trait Handler: Send + Sync {
    /// The answer when nothing goes wrong.
    fn answer(&self, request: &Request) -> Answer;
}

impl<F: Fn(&Request) -> Answer + Send + Sync> Handler for F {
    fn answer(&self, request: &Request) -> Answer {
        self(request)
    }
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it listens; port 0 is any.
    pub address: SocketAddr,
    /// The name in its URLs.
    pub name: String,
    /// Its certificate and key; without, it talks plain http.
    pub tls: Option<Arc<ServerConfig>>,
    /// How long it thinks about each request.
    pub latency: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            name: "127.0.0.1".to_owned(),
            tls: None,
            latency: Duration::ZERO,
        }
    }
}

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    setup: Setup,
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    handler: Arc<dyn Handler>,
    faults: Faults,
    log: Log,
    latency_micros: AtomicU64,
    open: AtomicBool,
    connections: Mutex<Vec<Weak<TcpStream>>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("faults", &self.faults)
            .field("requests", &self.log.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A plain one on the loopback interface.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(handler: Arc<dyn Handler>) -> Self {
        Self::with(Setup::default(), handler)
    }

    /// One that is reached as `setup` says.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub fn with(setup: Setup, handler: Arc<dyn Handler>) -> Self {
        let micros = u64::try_from(setup.latency.as_micros()).unwrap_or(u64::MAX);
        let state = Arc::new(State {
            handler,
            faults: Faults::default(),
            log: Log::default(),
            latency_micros: AtomicU64::new(micros),
            open: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let listener = listen(setup.address).unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().expect("it listens");
        let server = Self {
            state,
            setup,
            address,
            acceptor: Mutex::default(),
        };
        server.accept(listener);
        server
    }

    /// The URL of something on it.
    pub fn url(&self, path: &str) -> String {
        let scheme = self.setup.tls.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}{path}", self.host())
    }

    /// Its name and port, as in URLs and names of images in registries.
    pub fn host(&self) -> String {
        format!("{}:{}", self.setup.name, self.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked.
    pub fn log(&self) -> &Log {
        &self.state.log
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// How long it thinks about each request from now on.
    pub fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.state.latency_micros.store(micros, Ordering::Relaxed);
    }

    /// Goes: connections break, and new ones are refused.
    pub fn go(&self) {
        if !self.state.open.swap(false, Ordering::SeqCst) {
            return;
        }
        // Wakes whoever waits for a connection.
        TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).ok();
        if let Some(acceptor) = lock(&self.acceptor).take() {
            acceptor.join().ok();
        }
        for connection in lock(&self.state.connections).drain(..) {
            if let Some(connection) = connection.upgrade() {
                // It may be closed already.
                connection.shutdown(Shutdown::Both).ok();
            }
        }
    }

    /// Comes back, with the same address.
    ///
    /// # Panics
    /// When somebody else has it now.
    pub fn come_back(&self) {
        self.accept(listen(self.address).unwrap_or_else(|error| panic!("{error}")));
    }

    fn accept(&self, listener: TcpListener) {
        let state = self.state.clone();
        let tls = self.setup.tls.clone();
        state.open.store(true, Ordering::SeqCst);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if !state.open.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream.map(Arc::new) else {
                    continue;
                };
                let mut connections = lock(&state.connections);
                connections.retain(|connection| connection.strong_count() > 0);
                connections.push(Arc::downgrade(&stream));
                drop(connections);
                let (state, tls) = (state.clone(), tls.clone());
                // A client that goes away in the middle is its own business.
                std::thread::spawn(move || state.serve(Socket(stream), tls.as_ref()).ok());
            }
        });
        *lock(&self.acceptor) = Some(thread);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go();
    }
}

impl State {
    fn serve(&self, socket: Socket, tls: Option<&Arc<ServerConfig>>) -> io::Result<()> {
        socket.0.set_nodelay(true)?;
        let mut stream = BufReader::new(Wire::new(socket, tls)?);
        while let Some(request) = Request::read(&mut stream)? {
            let latency = self.latency_micros.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(latency));
            let fault = self.faults.of(&request);
            let mut answer = self.handler.answer(&request);
            if let Some(fault) = &fault {
                answer = fault.apply(answer);
            }
            let mut entry = Entry::new(&request.method, &request.path);
            entry.host = request.header("host").unwrap_or_default().to_owned();
            entry.authorization = request.header("authorization").map(str::to_owned);
            entry.status = answer.status;
            entry.fault = fault.as_ref().map(|fault| format!("{fault:?}"));
            let head_only = request.method == "HEAD";
            if let (Body::Part(_, range), false) = (&answer.body, head_only) {
                entry.part = Some(range.clone());
            }
            self.log.push(entry.clone());
            let more = stream
                .get_mut()
                .send(&answer, fault.as_ref(), head_only, &entry)?;
            if !more || request.is_last() {
                break;
            }
        }
        Ok(())
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
