//! The servers that people really run: Docker's registry, nginx, Python's `http.server`.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tls::Identity;
use crate::command::{Cmd, kill_group};
use crate::user::ordinary;

/// How long a server may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// The password in [`HTPASSWD`], of the user called `reader`.
pub const PASSWORD: &str = "s3cret";

/// A file of names and passwords (bcrypt).
const HTPASSWD: &str = "reader:$2b$04$2WBmtxeszqcXXG1zSECtPepXZNlPxEsBde7qo5eM1UwxWaND6Eo4G\n";

/// A server that ends with this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    port: u16,
    scheme: &'static str,
    output: Arc<Mutex<String>>,
    access: Option<PathBuf>,
}

/// Who may use a [`registry`].
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Everybody.
    Open,
    /// `reader` with [`PASSWORD`].
    Password,
    /// Those with a token.
    Token {
        /// Where tokens are to be had.
        realm: &'a str,
        /// Their issuer.
        issuer: &'a str,
        /// For whom they are.
        service: &'a str,
        /// Who signs them, PEM.
        certificate: &'a str,
    },
}

/// Docker's registry as Debian has it, its files in `folder`.
///
/// # Panics
/// When it does not start.
pub fn registry(folder: &Path, access: Access<'_>) -> Daemon {
    let port = free_port();
    let folder = made(folder);
    let auth = match access {
        Access::Open => String::new(),
        Access::Password => {
            let file = folder.join("htpasswd");
            std::fs::write(&file, HTPASSWD).expect("room");
            format!(
                "auth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
                file.display()
            )
        }
        Access::Token {
            realm,
            issuer,
            service,
            certificate,
        } => {
            let file = folder.join("issuer.pem");
            std::fs::write(&file, certificate).expect("room");
            format!(
                "auth: {{token: {{realm: \"{realm}\", service: {service}, issuer: {issuer}, \
                 rootcertbundle: {}}}}}\n",
                file.display()
            )
        }
    };
    let config = folder.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\", secret: tests}}\n{auth}",
        folder.join("data").display()
    );
    std::fs::write(&config, text).expect("room");
    let mut cmd = ordinary().command("docker-registry");
    cmd.arg("serve").arg(&config);
    Daemon::start(&mut cmd, port, "http", None)
}

/// nginx with TLS: the files below `root`, and behind `/v2/` what a registry at `upstream` has.
///
/// # Panics
/// When it does not start.
pub fn nginx(folder: &Path, root: &Path, identity: &Identity, upstream: Option<u16>) -> Daemon {
    let port = free_port();
    let folder = made(folder);
    std::fs::write(folder.join("cert.pem"), &identity.certificate).expect("room");
    std::fs::write(folder.join("key.pem"), &identity.key).expect("room");
    let proxy = upstream.map_or_else(String::new, |upstream| {
        format!(
            "location /v2/ {{ proxy_pass http://127.0.0.1:{upstream}; \
             proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; \
             client_max_body_size 0; }}"
        )
    });
    let here = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n access_log {here}/access.log; default_type application/octet-stream;\n \
         client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; \
         fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n \
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {here}/cert.pem; \
         ssl_certificate_key {here}/key.pem;\n location / {{ root {}; }}\n {proxy} }}\n}}\n",
        root.display()
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).expect("room");
    for file in ["cert.pem", "key.pem", "nginx.conf"] {
        ordinary().own(&folder.join(file));
    }
    let mut cmd = ordinary().command("nginx");
    cmd.arg("-e").arg(folder.join("error.log"));
    cmd.arg("-p").arg(&folder).arg("-c").arg(&config);
    Daemon::start(&mut cmd, port, "https", Some(folder.join("access.log")))
}

/// `python3 -m http.server` over `root`; it knows no ranges.
///
/// # Panics
/// When it does not start.
pub fn python(root: &Path) -> Daemon {
    let port = free_port();
    let mut cmd = ordinary().command("/usr/bin/python3");
    cmd.args(["-u", "-m", "http.server", "--bind", "127.0.0.1"]);
    cmd.arg("--directory").arg(root).arg(port.to_string());
    Daemon::start(&mut cmd, port, "http", None)
}

/// Docker's own daemon, its store and its socket `sock` in `folder`, listening on a port as well. The
/// ordinary user may ask it. It runs nothing and changes no network. Needs root.
///
/// # Errors
/// What it says when it does not start: it asks much of a machine.
///
/// # Panics
/// When its files cannot be written.
pub fn docker(folder: &Path) -> Result<Daemon, String> {
    let port = free_port();
    std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let at = |name: &str| folder.join(name).display().to_string();
    let user = ordinary();
    // Not the machine's.
    std::fs::write(folder.join("daemon.json"), "{}").expect("room");
    // Its mounts are its own, and go with it.
    let mut cmd = Cmd::new("unshare");
    cmd.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    cmd.args(["--mount", "dockerd", "--bridge=none", "--iptables=false"]);
    cmd.args([
        "--ip6tables=false",
        "--storage-driver=vfs",
        "--log-level=warn",
    ]);
    cmd.args(["--data-root", &at("data"), "--exec-root", &at("run")]);
    cmd.args(["--pidfile", &at("pid"), "--group", &user.gid.to_string()]);
    cmd.args([
        "--config-file",
        &at("daemon.json"),
        "--host",
        &format!("unix://{}", at("sock")),
    ]);
    cmd.args(["--host", &format!("tcp://127.0.0.1:{port}")]);
    Daemon::try_start(&mut cmd, port, "tcp", None)
}

/// A folder of the ordinary user's.
fn made(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    ordinary().own(folder);
    folder.to_owned()
}

/// A port that is free now: none of those that the kernel hands out (32768 and above), and another at
/// each call. A process of another test that began with the same could still take it first.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = u16::try_from(std::process::id().wrapping_mul(7919) % 12_000).expect("small");
    for _ in 0..1000 {
        let port = 20_000 + (base + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port between 20000 and 32000 is free");
}

impl Daemon {
    fn start(cmd: &mut Cmd, port: u16, scheme: &'static str, access: Option<PathBuf>) -> Self {
        Self::try_start(cmd, port, scheme, access)
            .unwrap_or_else(|log| panic!("a server did not start: {log}"))
    }

    /// What it said instead, if it does not start.
    fn try_start(
        cmd: &mut Cmd,
        port: u16,
        scheme: &'static str,
        access: Option<PathBuf>,
    ) -> Result<Self, String> {
        let mut child = cmd.start();
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take(), output.clone());
        collect(child.stderr.take(), output.clone());
        let mut daemon = Self {
            child,
            port,
            scheme,
            output,
            access,
        };
        let begin = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = !matches!(daemon.child.try_wait(), Ok(None));
            if ended || begin.elapsed() > PATIENCE {
                return Err(daemon.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its name and port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The URL of something on it.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port)
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        let said = self
            .output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let access = self.access.as_ref().map(std::fs::read_to_string);
        said + &access.and_then(Result::ok).unwrap_or_default()
    }

    /// How many requests for `what` it tells of.
    pub fn gets(&self, what: &str) -> usize {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains("\"GET "));
        lines.filter(|line| line.contains(what)).count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill_group(&self.child);
        // Killed, it ends.
        self.child.wait().ok();
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let Some(mut pipe) = pipe else { return };
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..read]);
            to.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&text);
        }
    });
}
