//! Files on web servers.

use super::super::server::{Server, answer, file};
use super::*;

const ETAG: &str = "ETag: \"one\"";

#[test]
fn one_request_finds_a_file_and_brings_its_beginning() {
    let bytes = data(300_000);
    let served = bytes.clone();
    let server = Server::start(move |request| file(request, &served, &[ETAG, "Content-Type: x/y"]));
    let it = setup(options());
    let (resolved, first) = it.resolve(&server.url("/image.sif")).unwrap();
    assert_eq!(server.count(), 1);
    assert_eq!((resolved.size, resolved.has_ranges), (300_000, true));
    assert_eq!(resolved.media_type.as_deref(), Some("x/y"));
    assert!(!first.is_empty() && bytes.starts_with(&first));
    let text = serde_json::to_string(&resolved).unwrap();
    assert_eq!(serde_json::from_str::<Resolved>(&text).unwrap(), resolved);

    let blob = it.client.blob(&resolved).unwrap();
    assert_eq!(
        read(&blob, 100_000..200_000).unwrap(),
        bytes[100_000..200_000]
    );
    assert_eq!(read(&blob, 0..300_000).unwrap(), bytes);
    assert!(read(&blob, 5..5).unwrap().is_empty());
    let log = server.log();
    assert_eq!(log[1].header("range"), Some("bytes=100000-199999"));
    assert_eq!(log[1].header("if-range"), Some("\"one\""));
    assert_eq!(log[1].header("accept-encoding"), Some("identity"));
    assert!(log[1].header("user-agent").unwrap().starts_with("skiff/"));
    assert_eq!(log[2].header("range"), None);
    assert!(
        log.iter()
            .all(|request| request.method == "GET" && request.body.is_empty())
    );
    let figures = blob.figures();
    assert_eq!(
        (figures.requests, figures.bytes, figures.retries),
        (2, 400_000, 0)
    );
    assert_eq!(figures.latency.iter().sum::<u64>(), 2);
    assert_eq!(it.listener.heard(), [""; 0]);
    assert!(read(&blob, 0..300_001).is_err());
}

#[test]
fn the_key_follows_version_length_and_content() {
    let at = |path: &str, headers: &'static [&'static str], bytes: Vec<u8>| {
        let server = Server::start(move |request| file(request, &bytes, headers));
        let (resolved, _) = setup(options()).resolve(&server.url(path)).unwrap();
        resolved.key.replace(&server.host(), "host")
    };
    let key = |headers, bytes| at("/x", headers, bytes);
    let one = key(&[ETAG], data(1000));
    assert_eq!(one, key(&[ETAG], data(1000)));
    assert_ne!(one, key(&["ETag: \"two\""], data(1000)));
    assert_ne!(one, key(&[ETAG], data(1001)));
    assert_ne!(one, at("/y", &[ETAG], data(1000)));
    let signed = at("/x?sig=secret", &[ETAG], data(1000));
    assert!(signed != one && signed != at("/x?sig=other", &[ETAG], data(1000)));
    assert!(!signed.contains("secret"), "{signed}");
    let nothing_told = key(&[], data(1000));
    assert_ne!(nothing_told, key(&[], vec![7; 1000]));
}

#[test]
fn a_server_without_ranges_is_read_through() {
    let bytes = data(200_000);
    let served = bytes.clone();
    let server = Server::start(move |_| answer("200 OK", &[ETAG], &served));
    let it = setup(options());
    let (resolved, first) = it.resolve(&server.url("/image.sif")).unwrap();
    assert!(!resolved.has_ranges && bytes.starts_with(&first));
    let blob = it.client.blob(&resolved).unwrap();
    assert!(!blob.has_ranges());
    assert_eq!(
        read(&blob, 150_000..160_000).unwrap(),
        bytes[150_000..160_000]
    );
    assert_eq!(read(&blob, 0..200_000).unwrap(), bytes);
}

#[test]
fn ranges_that_end_while_in_use_are_noticed_and_told_once() {
    let bytes = data(200_000);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        if request.number == 0 {
            file(request, &served, &[ETAG])
        } else {
            answer("200 OK", &[ETAG], &served)
        }
    });
    let it = setup(options());
    let blob = it.open(&server);
    assert!(blob.has_ranges());
    for _ in 0..2 {
        assert_eq!(
            read(&blob, 150_000..160_000).unwrap(),
            bytes[150_000..160_000]
        );
    }
    assert!(!blob.has_ranges());
    assert_eq!(it.listener.heard().len(), 1);
    assert!(it.listener.heard_of("no parts"));
}

#[test]
fn a_login_in_the_url_is_sent_and_nowhere_shown() {
    let bytes = data(100_000);
    let server = Server::start(move |request| match request.header("authorization") {
        // me:secret
        Some("Basic bWU6c2VjcmV0") => file(request, &bytes, &[ETAG]),
        _ => answer(
            "401 Unauthorized",
            &["WWW-Authenticate: Basic realm=x"],
            b"",
        ),
    });
    let name = format!("http://me:secret@{}/x", server.address);
    let reference = Reference::parse(&name).unwrap().unwrap();
    let mut with_login = options();
    with_login.adopt(&reference);
    let it = setup(with_login);
    let (resolved, _) = it.client.resolve(&reference).unwrap();
    assert!(!serde_json::to_string(&resolved).unwrap().contains("secret"));
    read(&it.client.blob(&resolved).unwrap(), 0..100).unwrap();
    let error = setup(options()).resolve(&server.url("/x")).unwrap_err();
    assert!(matches!(error, RemoteError::Denied { .. }), "{error}");
}

#[test]
fn refusals_are_told_as_they_are() {
    let check = |status: &'static str, expected: &str| {
        let server = Server::start(move |_| answer(status, &[], b"no"));
        let error = setup(options())
            .resolve(&server.url("/x.sif"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("/x.sif"),
            "{error}"
        );
        assert_eq!(server.count(), 1, "{status} was asked again");
    };
    check("404 Not Found", "not there: 404 Not Found");
    check("410 Gone", "not there");
    check("403 Forbidden", "access denied");
    check("416 Range Not Satisfiable", "the file is empty");
    check("418 I'm a teapot", "the server answers 418");
    check("204 No Content", "the server answers 204");
    check("304 Not Modified", "the server answers 304");
}

#[test]
fn offline_asks_nobody() {
    let server = Server::start(|request| file(request, &data(1000), &[ETAG]));
    let (resolved, _) = setup(options()).resolve(&server.url("/x")).unwrap();
    let it = setup(RemoteOptions {
        offline: true,
        ..options()
    });
    assert!(matches!(
        it.resolve(&server.url("/x")),
        Err(RemoteError::Offline { .. })
    ));
    let blob = it.client.blob(&resolved).unwrap();
    assert!(
        read(&blob, 0..10)
            .unwrap_err()
            .to_string()
            .contains("offline")
    );
    assert_eq!(server.count(), 1);
}

#[test]
fn what_the_reader_cannot_take_stops_the_read() {
    let server = Server::start(|request| file(request, &data(100_000), &[ETAG]));
    let blob = setup(options()).open(&server);
    let error = blob
        .fetch(0..100_000, &mut |_| Err(io::ErrorKind::StorageFull.into()))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(server.count(), 2);
}
