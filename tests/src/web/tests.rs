//! The servers of the tests do what they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::fault::crc32;
use super::*;

fn bytes(len: usize) -> Vec<u8> {
    crate::reading::Random::new(3).bytes(len)
}

/// The head of an answer and its body.
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn status(&self) -> &str {
        self.head.split_whitespace().nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

fn ask(stream: &mut BufReader<TcpStream>, head: &str) -> std::io::Result<Seen> {
    stream.get_mut().write_all(head.as_bytes())?;
    let mut seen = Seen {
        head: String::new(),
        body: Vec::new(),
    };
    while !seen.head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut seen.head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    if !head.starts_with("HEAD") {
        let len = seen.header("content-length").unwrap_or("0");
        let len = len.parse().unwrap();
        seen.body.resize(len, 0);
        stream.read_exact(&mut seen.body)?;
    }
    Ok(seen)
}

fn connect(server: &Server) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(server.address()).unwrap())
}

fn get(server: &Server, headers: &str) -> std::io::Result<Seen> {
    ask(
        &mut connect(server),
        &format!("GET /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n"),
    )
}

fn site() -> (Vec<u8>, Server) {
    let data = bytes(200_000);
    let server = Server::start(Site::with("/a", Content::memory(data.clone())));
    (data, server)
}

#[test]
fn ranges_heads_and_validators() {
    let (data, server) = site();
    let mut stream = connect(&server);
    let head = ask(&mut stream, "HEAD /a HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(head.header("content-length"), Some("200000"));
    let etag = head.header("etag").unwrap().to_owned();
    for (range, wanted) in [
        ("0-0", 0..1),
        ("100-4195", 100..4196),
        ("199000-", 199_000..200_000),
        ("-10", 199_990..200_000),
        ("150000-999999", 150_000..200_000),
    ] {
        let request =
            format!("GET /a HTTP/1.1\r\nRange: bytes={range}\r\nIf-Range: {etag}\r\n\r\n");
        let seen = ask(&mut stream, &request).unwrap();
        assert_eq!(seen.status(), "206", "{range}");
        assert!(seen.body == data[wanted], "{range}");
    }
    let seen = get(&server, "Range: bytes=0-9\r\nIf-Range: \"other\"\r\n").unwrap();
    assert_eq!((seen.status(), seen.body.len()), ("200", data.len()));
    assert_eq!(
        get(&server, "Range: bytes=200000-\r\n").unwrap().status(),
        "416"
    );
    let seen = get(&server, &format!("If-None-Match: {etag}\r\n")).unwrap();
    assert_eq!((seen.status(), seen.body.len()), ("304", 0));
    let log = server.log();
    assert_eq!(log.data_requests(), 6, "{log}");
    let wanted = 1 + 4096 + 1000 + 10 + 50_000 + 200_000;
    assert_eq!(log.data_bytes(), wanted, "{log}");
    assert_eq!(log.repeated_bytes(), wanted - 200_000, "{log}");
}

#[test]
fn faults_are_what_they_are_called() {
    let (data, server) = site();
    let faults = server.faults();
    let range = "Range: bytes=8192-16383\r\n";
    let with = |fault: Fault| {
        faults.clear();
        faults.add(fault, When::Next(1));
        let first = get(&server, range);
        let second = get(&server, range).unwrap();
        assert!(second.body == data[8192..16384], "the fault stayed");
        first
    };
    assert_eq!(with(Fault::Status(503)).unwrap().status(), "503");
    let seen = with(Fault::TooMany { seconds: 7 }).unwrap();
    assert_eq!(
        (seen.status(), seen.header("retry-after")),
        ("429", Some("7"))
    );
    let reset = with(Fault::Reset { after: 100 });
    let kind = reset.map(|seen| seen.head).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    let cut = with(Fault::Truncate { after: 100 });
    let kind = cut.map(|seen| seen.head).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::UnexpectedEof);
    let pause = Duration::from_millis(300);
    let begin = std::time::Instant::now();
    assert!(with(Fault::Stall { after: 10, pause }).unwrap().body == data[8192..16384]);
    assert!(begin.elapsed() >= pause);
    let seen = with(Fault::WrongPlace).unwrap();
    assert_eq!(
        seen.header("content-range"),
        Some("bytes 4096-12287/200000")
    );
    assert!(seen.body == data[4096..12288]);
    let seen = with(Fault::WrongTotal).unwrap();
    assert_eq!(
        seen.header("content-range"),
        Some("bytes 8192-16383/204096")
    );
    let seen = with(Fault::WholeFile).unwrap();
    assert_eq!((seen.status(), seen.header("content-range")), ("200", None));
    assert!(seen.body == data);
    let seen = with(Fault::ShortLength).unwrap();
    assert!(seen.body == data[8192..12288]);
    let seen = with(Fault::Gzip).unwrap();
    assert_eq!(seen.header("content-encoding"), Some("gzip"));
    assert!(seen.body.ends_with(&[0, 0x20, 0, 0]));
    let seen = with(Fault::Redirect("http://other/".to_owned())).unwrap();
    assert_eq!(seen.header("location"), Some("http://other/"));
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn servers_go_and_come_back() {
    let (_, server) = site();
    let mut stream = connect(&server);
    ask(&mut stream, "GET /a HTTP/1.1\r\n\r\n").unwrap();
    server.go();
    assert!(ask(&mut stream, "GET /a HTTP/1.1\r\n\r\n").is_err());
    assert!(TcpStream::connect(server.address()).is_err());
    server.come_back();
    assert_eq!(get(&server, "").unwrap().status(), "200");
}

#[test]
fn registries_want_tokens_that_last_a_while() {
    let registry = Registry::new();
    let digest = registry.push("lab/py", "3", &Content::memory(bytes(1000)));
    let server = Server::start(registry.clone());
    let lifetime = Duration::from_millis(300);
    registry.close(registry::Door {
        realm: server.url("/token"),
        lifetime,
        told_lifetime: None,
        login: Some(("reader".to_owned(), "pw".to_owned())),
    });
    let path = format!("/v2/lab/py/blobs/{digest}");
    let blob = |authorization: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{authorization}\r\n");
        ask(&mut connect(&server), &request).unwrap()
    };
    let seen = blob("");
    assert_eq!(seen.status(), "401");
    let wanted = format!(
        "Bearer realm=\"{}\",service=\"tests\",scope=\"repository:lab/py:pull\"",
        server.url("/token")
    );
    assert_eq!(seen.header("www-authenticate"), Some(wanted.as_str()));
    let refused = ask(&mut connect(&server), "GET /token HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(refused.status(), "401");
    let request = "GET /token HTTP/1.1\r\nAuthorization: Basic cmVhZGVyOnB3\r\n\r\n";
    let given = ask(&mut connect(&server), request).unwrap();
    let given: serde_json::Value = serde_json::from_slice(&given.body).unwrap();
    let token = given["token"].as_str().unwrap();
    let header = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(blob(&header).status(), "200");
    std::thread::sleep(lifetime);
    assert_eq!(blob(&header).status(), "401");
    assert_eq!(registry.issued(), 1);
}

#[test]
fn addresses_in_a_store_expire() {
    let site = Site::with("/a", Content::memory(bytes(10)));
    let server = Server::start(std::sync::Arc::new(site::Store(site)));
    let status = |until: u128| {
        let request = format!("GET /a?until={until} HTTP/1.1\r\n\r\n");
        let seen = ask(&mut connect(&server), &request).unwrap();
        seen.status().to_owned()
    };
    assert_eq!(status(site::now() + 60_000), "200");
    assert_eq!(status(site::now() - 1), "403");
}
