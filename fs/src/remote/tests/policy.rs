//! Servers that fail: what is asked again, for how long, and what is never believed.

use std::net::TcpListener;
use std::time::Instant;

use super::super::server::{Request, Server, Step, answer, broken_file, file};
use super::*;

const ETAG: &str = "ETag: \"one\"";
const SIZE: usize = 200_000;

/// A server that behaves when a file is looked up, and then does `what` to the first `times` reads.
fn faulty(
    times: usize,
    what: impl Fn(&Request, &[u8]) -> Vec<Step> + Send + Sync + 'static,
) -> Server {
    let bytes = data(SIZE);
    Server::start(move |request| {
        if (1..=times).contains(&request.number) {
            what(request, &bytes)
        } else {
            file(request, &bytes, &[ETAG])
        }
    })
}

/// Reads past the faults; the bytes must be right.
fn survives(server: &Server) -> Setup {
    let it = setup(options());
    let blob = it.open(server);
    assert_eq!(
        read(&blob, 1000..150_000).unwrap(),
        data(SIZE)[1000..150_000]
    );
    assert!(
        it.listener.heard_of("data again"),
        "{:?}",
        it.listener.heard()
    );
    it
}

/// Fails for good: with this text, in bounded time, and with right bytes before it.
fn fails(server: &Server, text: &str) -> Setup {
    let it = setup(options());
    let blob = it.open(server);
    let start = Instant::now();
    let mut got = Vec::new();
    let error = blob
        .fetch(1000..150_000, &mut |piece| {
            got.extend_from_slice(piece);
            Ok(())
        })
        .unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "took {:?}",
        start.elapsed()
    );
    assert!(error.to_string().contains(text), "{error}");
    assert!(!error.to_string().contains('\n'));
    assert!(data(SIZE)[1000..].starts_with(&got), "wrong bytes");
    it
}

#[test]
fn bursts_of_server_errors_pass() {
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        let server = faulty(2, move |_, _| answer(status, &[], b"sorry"));
        survives(&server);
        assert_eq!(server.count(), 4);
    }
}

#[test]
fn lasting_server_errors_end_in_one_clear_line() {
    let server = faulty(usize::MAX - 1, |_, _| {
        answer("503 Service Unavailable", &[], b"")
    });
    let it = fails(
        &server,
        "gave up after 0.6 s: the server answers 503 Service Unavailable",
    );
    assert!(it.listener.heard_of("trying again in") && it.listener.heard_of("gave up"));
}

#[test]
fn the_server_says_when_to_come_back() {
    let server = faulty(1, |_, _| {
        answer("429 Too Many Requests", &["Retry-After: 1"], b"")
    });
    let it = setup(RemoteOptions {
        give_up_after: Duration::from_secs(5),
        ..options()
    });
    let blob = it.open(&server);
    let start = Instant::now();
    read(&blob, 0..100).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.count(), 3);
}

#[test]
fn reads_go_on_where_the_connection_broke() {
    for last in [Step::Close, Step::Reset, Step::Wait(400)] {
        let server = faulty(1, move |request, bytes| {
            broken_file(
                request,
                bytes,
                70_000,
                vec![Step::Wait(30), last.clone(), Step::Close],
            )
        });
        survives(&server);
        let log = server.log();
        let second = log[2].range(SIZE).unwrap();
        assert_eq!((second.0 > 1000, second.1), (true, 150_000), "{second:?}");
    }
}

#[test]
fn silence_before_the_answer_is_asked_again() {
    survives(&faulty(1, |_, _| vec![Step::Wait(400), Step::Close]));
    survives(&faulty(1, |_, _| vec![Step::Close]));
    fails(
        &faulty(usize::MAX - 1, |_, _| vec![Step::Wait(900), Step::Close]),
        "no answer",
    );
}

#[test]
fn a_dripping_server_does_not_hold_a_reader_for_ever() {
    let server = faulty(usize::MAX - 1, |request, bytes| {
        broken_file(request, bytes, 10, vec![Step::Close])
    });
    fails(&server, "gave up");
}

#[test]
fn nor_does_one_that_never_pauses_for_long() {
    let drip = |request: &Request, bytes: &[u8]| {
        let mut steps = broken_file(request, bytes, 10, vec![]);
        let more = &bytes[request.range(SIZE).unwrap().0 + 10..];
        for byte in more.iter().take(50) {
            steps.extend([Step::Wait(40), Step::Send(vec![*byte])]);
        }
        steps
    };
    fails(&faulty(usize::MAX - 1, drip), "data comes too slowly");
}

#[test]
fn a_server_that_gives_less_than_asked_is_asked_for_the_rest() {
    let bytes = data(SIZE);
    let server = Server::start(move |request| {
        let (first, end) = request.range(SIZE).unwrap();
        let end = end.min(first + 64 * 1024);
        let content = format!("Content-Range: bytes {first}-{}/{SIZE}", end - 1);
        answer("206 Partial Content", &[&content, ETAG], &bytes[first..end])
    });
    let it = setup(options());
    let blob = it.open(&server);
    assert_eq!(
        read(&blob, 1000..150_000).unwrap(),
        data(SIZE)[1000..150_000]
    );
    assert_eq!((server.count(), it.listener.heard().len()), (4, 0));
}

#[test]
fn another_part_than_asked_is_never_delivered() {
    let wrong = |request: &Request, bytes: &[u8]| {
        let (first, end) = request.range(SIZE).unwrap();
        let content = format!("Content-Range: bytes {}-{}/{SIZE}", first - 1, end - 2);
        answer(
            "206 Partial Content",
            &[&content, ETAG],
            &bytes[first - 1..end - 1],
        )
    };
    survives(&faulty(1, wrong));
    let server = faulty(usize::MAX - 1, wrong);
    fails(&server, "another part");
    assert_eq!(server.count(), 4);
    let no_place = |_: &Request, bytes: &[u8]| answer("206 Partial Content", &[ETAG], bytes);
    fails(&faulty(usize::MAX - 1, no_place), "without saying which");
    let wrong_length = |request: &Request, bytes: &[u8]| {
        let (first, end) = request.range(SIZE).unwrap();
        let content = format!("Content-Range: bytes {first}-{}/{SIZE}", end - 1);
        answer(
            "206 Partial Content",
            &[&content, ETAG],
            &bytes[first..end - 5],
        )
    };
    fails(&faulty(usize::MAX - 1, wrong_length), "another part");
}

#[test]
fn a_replaced_image_is_noticed_and_never_mixed() {
    let other = || vec![0xee; SIZE];
    let check = |answer: fn(&Request, &[u8]) -> Vec<Step>| {
        let server = faulty(usize::MAX - 1, move |request, _| answer(request, &other()));
        let it = setup(options());
        let blob = it.open(&server);
        for _ in 0..2 {
            let mut got = 0;
            let error = blob
                .fetch(1000..150_000, &mut |piece| {
                    got += piece.len();
                    Ok(())
                })
                .unwrap_err();
            assert_eq!(
                (got, error.kind()),
                (0, io::ErrorKind::StaleNetworkFileHandle),
                "{error}"
            );
            assert!(error.to_string().contains("replaced"), "{error}");
        }
        // No second thoughts, and no retries.
        assert_eq!(server.count(), 2);
        assert_eq!(it.listener.heard().len(), 1, "{:?}", it.listener.heard());
    };
    // What If-Range brings; a server that does not know it; one without versions, by the length.
    check(|_, other| answer("200 OK", &["ETag: \"two\""], other));
    check(|request, other| file(request, other, &["ETag: \"two\""]));
    check(|request, other| file(request, &other[..SIZE - 1], &[]));
    check(|_, other| answer("200 OK", &[], &other[..1000]));
    check(|_, _| {
        answer(
            "416 Range Not Satisfiable",
            &["Content-Range: bytes */500"],
            b"",
        )
    });
    check(|_, _| answer("412 Precondition Failed", &[], b""));
}

#[test]
fn compression_is_refused() {
    let gzip =
        |request: &Request, bytes: &[u8]| file(request, bytes, &[ETAG, "Content-Encoding: gzip"]);
    fails(&faulty(usize::MAX - 1, gzip), "compressed (gzip)");
}

#[test]
fn a_server_that_is_gone_and_comes_back() {
    // A port that nobody listens on, for the moment.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let it = setup(RemoteOptions {
        give_up_after: Duration::from_secs(5),
        ..options()
    });
    let server = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Server::start_at(address, |request| file(request, &data(SIZE), &[ETAG]))
    });
    it.resolve(&format!("http://{address}/x.sif")).unwrap();
    assert!(
        it.listener.heard_of("connection refused"),
        "{:?}",
        it.listener.heard()
    );
    drop(server.join().unwrap());
    let it = setup(options());
    let error = it
        .resolve(&format!("http://{address}/x.sif"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("gave up after 0.6 s: cannot connect: connection refused"),
        "{error}"
    );
}

#[test]
fn a_name_that_does_not_resolve() {
    let it = setup(options());
    let error = it
        .resolve("http://no-such-host.invalid/x.sif")
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be resolved"), "{error}");
}

#[test]
fn a_late_answer_is_asked_for_twice() {
    let server = faulty(1, |request, bytes| {
        let mut steps = vec![Step::Wait(8000)];
        steps.extend(file(request, bytes, &[ETAG]));
        steps
    });
    let it = setup(RemoteOptions {
        stall_after: Duration::from_secs(30),
        give_up_after: Duration::from_secs(30),
        hedge_after: Duration::from_millis(100),
        ..options()
    });
    let blob = it.open(&server);
    let start = Instant::now();
    assert_eq!(read(&blob, 5..10).unwrap(), data(SIZE)[5..10]);
    assert!(
        start.elapsed() < Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((blob.figures().hedges, blob.figures().requests), (1, 2));
}

#[test]
fn only_so_many_requests_are_under_way() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let server = faulty(usize::MAX - 1, |request, bytes| {
        MOST.fetch_max(NOW.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        NOW.fetch_sub(1, SeqCst);
        file(request, bytes, &[ETAG])
    });
    let it = setup(RemoteOptions {
        requests_per_host: 3,
        ..options()
    });
    let blob = it.open(&server);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| read(&blob, 5..10).unwrap());
        }
    });
    assert_eq!(MOST.load(SeqCst), 3);
}

#[test]
fn redirects_are_remembered_and_refreshed() {
    let bytes = data(SIZE);
    let store = Server::start(move |request| {
        assert_eq!(
            request.header("authorization"),
            None,
            "credentials were carried away"
        );
        // The third request finds the signature expired.
        if request.number == 2 {
            answer("403 Forbidden", &[], b"expired")
        } else {
            file(request, &bytes, &[ETAG])
        }
    });
    let target = format!("Location: {}", store.url("/signed?secret=1"));
    let front = Server::start(move |request| {
        assert!(request.header("authorization").is_some());
        answer("307 Temporary Redirect", &[&target], b"")
    });
    let reference = Reference::parse(&format!("http://me:pw@{}/x", front.address))
        .unwrap()
        .unwrap();
    let mut with_login = options();
    with_login.adopt(&reference);
    let it = setup(with_login);
    let (resolved, _) = it.client.resolve(&reference).unwrap();
    let blob = it.client.blob(&resolved).unwrap();
    for _ in 0..4 {
        assert_eq!(read(&blob, 5..10).unwrap(), data(SIZE)[5..10]);
    }
    // One for the look-up, one for the first read, one when the signature had expired.
    assert_eq!((front.count(), store.count()), (3, 6));
    assert_eq!(it.listener.heard(), [""; 0]);
}

#[test]
fn redirects_without_end_end() {
    let server = Server::start(|request| {
        answer(
            "302 Found",
            &[&format!("Location: /x{}", request.number)],
            b"",
        )
    });
    let error = setup(options())
        .resolve(&server.url("/x"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("redirected more than 10 times"), "{error}");
    assert_eq!(server.count(), 11);
    let server = Server::start(|_| answer("302 Found", &["Location: file:///etc/passwd"], b""));
    let error = setup(options())
        .resolve(&server.url("/x"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no http or https URL"), "{error}");
}

#[test]
fn a_proxy_is_asked_except_for_some() {
    let proxy = Server::start(|request| {
        assert_eq!(request.target, "http://images.invalid/x.sif");
        file(request, &data(1000), &[ETAG])
    });
    let proxies = Proxies {
        http: Some(proxy.url("")),
        ..Proxies::default()
    };
    let it = setup(RemoteOptions {
        proxies: proxies.clone(),
        ..options()
    });
    it.resolve("http://images.invalid/x.sif").unwrap();
    let except = Proxies {
        except: Some(".invalid".to_owned()),
        ..proxies
    };
    let it = setup(RemoteOptions {
        proxies: except,
        ..options()
    });
    assert!(it.resolve("http://images.invalid/x.sif").is_err());
    assert_eq!(proxy.count(), 1);
    let server = faulty(0, |_, _| Vec::new());
    let it = setup(RemoteOptions {
        proxies: Proxies {
            http: Some(proxy.url("")),
            ..Proxies::default()
        },
        ..options()
    });
    it.resolve(&server.url("/x.sif")).unwrap();
}

#[test]
fn https_goes_through_a_tunnel() {
    let proxy = Server::start(|request| {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("CONNECT", "images.invalid:443")
        );
        assert_eq!(
            request.header("proxy-authorization"),
            Some("Basic bWU6cHc=")
        );
        answer("502 Bad Gateway", &[], b"")
    });
    let with_login = format!("http://me:pw@{}", proxy.host());
    let proxies = Proxies {
        https: Some(with_login),
        ..Proxies::default()
    };
    let it = setup(RemoteOptions {
        proxies,
        ..options()
    });
    let error = it
        .resolve("https://images.invalid/x.sif")
        .unwrap_err()
        .to_string();
    assert!(error.contains("tunnel") && !error.contains("pw"), "{error}");
    assert!(proxy.count() > 1);
}
