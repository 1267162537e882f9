//! SIFs in registries: names, doors, mirrors and redirects.

use std::fs;
use std::path::Path;

use super::super::server::{Request, Server, Step, answer, file};
use super::*;

const SIF: &str = "application/vnd.sylabs.sif.layer.v1.sif";
const OCI: &str = "Content-Type: application/vnd.oci.image.manifest.v1+json";
const SIZE: usize = 100_000;

fn manifest(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes);
    let size = bytes.len();
    format!(
        r#"{{"schemaVersion":2,"config":{{}},"layers":[{{"mediaType":"{SIF}","digest":"{digest}","size":{size}}}]}}"#
    )
}

/// What a registry with one image `lab/py:3` in it answers.
fn registry(request: &Request, bytes: &[u8]) -> Vec<Step> {
    let manifest = manifest(bytes);
    let (own, blob) = (Digest::of(manifest.as_bytes()), Digest::of(bytes));
    let told = format!("Docker-Content-Digest: {own}");
    match request
        .target
        .strip_prefix("/v2/lab/py/")
        .unwrap_or_default()
    {
        it if it == "manifests/3" || it == format!("manifests/{own}") => {
            assert!(
                request
                    .header("accept")
                    .unwrap()
                    .contains("vnd.oci.image.index.v1+json")
            );
            answer("200 OK", &[OCI, &told], manifest.as_bytes())
        }
        it if it == format!("blobs/{blob}") => file(request, bytes, &[]),
        _ => answer(
            "404 Not Found",
            &[],
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        ),
    }
}

fn name(server: &Server) -> String {
    format!("oras://{}/lab/py:3", server.host())
}

fn open(it: &Setup, server: &Server) -> Result<Arc<RemoteBlob>, RemoteError> {
    let (resolved, _) = it.resolve(&name(server))?;
    it.client.blob(&resolved)
}

fn check(blob: &RemoteBlob) {
    assert_eq!(read(blob, 1000..5000).unwrap(), data(SIZE)[1000..5000]);
}

#[test]
fn a_sif_is_found_by_tag_and_by_digest() {
    let server = Server::start(|request| registry(request, &data(SIZE)));
    let it = setup(options());
    let (resolved, _) = it.resolve(&name(&server)).unwrap();
    let digest = Digest::of(&data(SIZE)).to_string();
    // Another registry that claims to have this blob does not fill this one's place in the cache.
    let key = format!("{digest} {}", server.host());
    assert_eq!(
        (resolved.key.as_str(), resolved.size),
        (key.as_str(), SIZE as u64)
    );
    assert_eq!(
        (resolved.digest.as_deref(), resolved.media_type.as_deref()),
        (Some(digest.as_str()), Some(SIF))
    );
    check(&it.client.blob(&resolved).unwrap());
    assert_eq!(server.count(), 2);
    let own = Digest::of(manifest(&data(SIZE)).as_bytes());
    let pinned = format!("oras://{}/lab/py@{own}", server.host());
    assert_eq!(it.resolve(&pinned).unwrap().0.key, resolved.key);
    let error = it
        .resolve(&format!("oras://{}/lab/py:4", server.host()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not there: 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)"),
        "{error}"
    );
    assert_eq!(it.listener.heard(), [""; 0]);
}

#[test]
fn a_manifest_that_does_not_fit_its_digest_is_refused() {
    let server = Server::start(|_| {
        let told = format!("Docker-Content-Digest: {}", Digest::of(b"other"));
        answer("200 OK", &[OCI, &told], manifest(&data(SIZE)).as_bytes())
    });
    let error = setup(options()).resolve(&name(&server)).unwrap_err();
    assert!(matches!(error, RemoteError::Mismatch { .. }), "{error}");
    let server = Server::start(|_| answer("200 OK", &[OCI], manifest(&data(SIZE)).as_bytes()));
    let pinned = format!("oras://{}/lab/py@{}", server.host(), Digest::of(b"other"));
    let error = setup(options()).resolve(&pinned).unwrap_err();
    assert!(matches!(error, RemoteError::Mismatch { .. }), "{error}");
    assert_eq!(server.count(), 3);
}

#[test]
fn a_blob_of_another_length_is_refused() {
    let server = Server::start(|request| {
        if request.target.contains("/blobs/") {
            file(request, &data(SIZE - 1), &[])
        } else {
            registry(request, &data(SIZE))
        }
    });
    let blob = open(&setup(options()), &server).unwrap();
    let error = read(&blob, 1000..5000).unwrap_err().to_string();
    assert!(error.contains("another blob under this digest"), "{error}");
}

/// A registry whose tokens are called `t0`, `t1` … of which only the newest is good.
fn with_tokens(request: &Request, good: &Mutex<usize>, life: &str) -> Vec<Step> {
    let host = request.header("host").unwrap();
    if request.target.starts_with("/token") {
        let mut good = good.lock().unwrap();
        *good += 1;
        return answer(
            "200 OK",
            &[],
            format!(r#"{{"token":"t{good}"{life}}}"#).as_bytes(),
        );
    }
    let expected = format!("Bearer t{}", good.lock().unwrap());
    if request.header("authorization") == Some(&expected) {
        return registry(request, &data(SIZE));
    }
    let challenge = format!(
        "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"reg\",scope=\"repository:lab/py:pull\""
    );
    answer("401 Unauthorized", &[&challenge], b"")
}

#[test]
fn tokens_are_asked_for_once_and_replaced_once_when_refused() {
    let good = Arc::new(Mutex::new(0));
    let script_good = Arc::clone(&good);
    let server = Server::start(move |request| with_tokens(request, &script_good, ""));
    let it = setup(options());
    let blob = open(&it, &server).unwrap();
    check(&blob);
    let tokens = || {
        server
            .log()
            .iter()
            .filter(|it| it.target.starts_with("/token"))
            .count()
    };
    assert_eq!((tokens(), server.count()), (1, 4));
    assert_eq!(
        server.log()[1].target,
        "/token?service=reg&scope=repository%3Alab%2Fpy%3Apull"
    );
    assert_eq!(server.log()[1].header("authorization"), None);
    // Revoked: eight readers find out, one asks.
    *good.lock().unwrap() = 100;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| check(&blob));
        }
    });
    assert_eq!(tokens(), 2);
    assert_eq!(it.listener.heard(), [""; 0]);
}

/// A token server on the registry's own host, and as many refused requests as it takes at once: the
/// request for the token gets through.
#[test]
fn refused_requests_leave_room_for_the_token() {
    let good = Arc::new(Mutex::new(0));
    let script_good = Arc::clone(&good);
    let server = Server::start(move |request| {
        let mut steps = with_tokens(request, &script_good, "");
        if !request.target.starts_with("/token") {
            // They are all under way together.
            steps.insert(0, Step::Wait(100));
        }
        steps
    });
    let options = RemoteOptions {
        requests_per_host: 4,
        stall_after: Duration::from_secs(30),
        ..options()
    };
    let blob = open(&setup(options), &server).unwrap();
    *good.lock().unwrap() = 100;
    let begin = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| check(&blob));
        }
    });
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[test]
fn tokens_are_replaced_before_they_expire() {
    let good = Mutex::new(0);
    let server = Server::start(move |request| with_tokens(request, &good, r#","expires_in":1"#));
    let blob = open(&setup(options()), &server).unwrap();
    check(&blob);
    std::thread::sleep(Duration::from_millis(850));
    let before = server.count();
    check(&blob);
    let log: Vec<String> = server.log()[before..]
        .iter()
        .map(|it| it.target[..5].to_owned())
        .collect();
    assert_eq!(log, ["/toke", "/v2/l"]);
}

#[test]
fn a_token_that_never_helps_ends_in_a_clear_line() {
    let server = Server::start(|request| with_tokens(request, &Mutex::new(usize::MAX - 1), ""));
    let error = setup(options()).resolve(&name(&server)).unwrap_err();
    assert!(matches!(error, RemoteError::Denied { .. }), "{error}");
    assert_eq!(server.count(), 3);
}

fn with_password(request: &Request) -> Vec<Step> {
    // me:pw
    match request.header("authorization") {
        Some("Basic bWU6cHc=") => registry(request, &data(SIZE)),
        _ => answer(
            "401 Unauthorized",
            &["WWW-Authenticate: Basic realm=\"x\""],
            b"",
        ),
    }
}

#[test]
fn a_password_from_the_options_or_a_file() {
    let server = Server::start(with_password);
    let with = |username: &str, password: &str| RemoteOptions {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        ..options()
    };
    check(&open(&setup(with("me", "pw")), &server).unwrap());
    let error = open(&setup(with("me", "wrong")), &server)
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not take this login"), "{error}");
    assert!(!error.contains("wrong"));
    let error = open(&setup(options()), &server).unwrap_err().to_string();
    assert!(
        error.contains("a login is needed (skiff registry login oras://127.0.0.1:"),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    let auths = format!(
        r#"{{"auths":{{"{}/lab":{{"auth":"bWU6cHc="}}}}}}"#,
        server.host()
    );
    fs::write(&path, auths).unwrap();
    check(
        &open(
            &setup(RemoteOptions {
                authfile: Some(path),
                ..options()
            }),
            &server,
        )
        .unwrap(),
    );
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let server = Server::start(|request| {
        if request.target == "/token" {
            assert_eq!(request.method, "POST");
            assert_eq!(
                request.body,
                "grant_type=refresh_token&client_id=skiff&service=reg&scope=repository%3Alab%2Fpy%3Apull&refresh_token=id%2Ft"
            );
            return answer("200 OK", &[], br#"{"access_token":"t7"}"#);
        }
        with_tokens(request, &Mutex::new(7), "")
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    fs::write(
        &path,
        format!(
            r#"{{"auths":{{"{}":{{"identitytoken":"id/t"}}}}}}"#,
            server.host()
        ),
    )
    .unwrap();
    check(
        &open(
            &setup(RemoteOptions {
                authfile: Some(path),
                ..options()
            }),
            &server,
        )
        .unwrap(),
    );
}

/// A refresh token makes tokens for years: it is for the token server and nobody that sends on to.
#[test]
fn an_identity_token_is_not_posted_on() {
    let thief = Server::start(|_| answer("200 OK", &[], br#"{"access_token":"t7"}"#));
    let target = format!("Location: {}", thief.url("/token"));
    let server = Server::start(move |request| {
        if request.target == "/token" {
            return answer("307 Temporary Redirect", &[&target], b"");
        }
        with_tokens(request, &Mutex::new(7), "")
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    let host = server.host();
    let auths = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"id/t"}}}}}}"#);
    fs::write(&path, auths).unwrap();
    let options = RemoteOptions {
        authfile: Some(path),
        ..options()
    };
    let error = open(&setup(options), &server).unwrap_err().to_string();
    assert!(error.contains("where the login"), "{error}");
    assert_eq!(thief.count(), 0);
}

#[test]
fn an_object_store_gets_no_credentials_and_an_expired_link_is_renewed() {
    let store = Server::start(|request| {
        assert_eq!(request.header("authorization"), None);
        if request.number == 1 {
            answer("403 Forbidden", &[], b"")
        } else {
            file(request, &data(SIZE), &[])
        }
    });
    let target = format!("Location: {}", store.url("/bucket/x?sig=secret"));
    let server = Server::start(move |request| {
        if request.target.contains("/blobs/") && request.header("authorization").is_some() {
            answer("307 Temporary Redirect", &[&target], b"")
        } else {
            with_password(request)
        }
    });
    let login = RemoteOptions {
        username: Some("me".into()),
        password: Some("pw".into()),
        ..options()
    };
    let blob = open(&setup(login), &server).unwrap();
    (0..3).for_each(|_| check(&blob));
    let blobs = server
        .log()
        .iter()
        .filter(|it| it.target.contains("/blobs/"))
        .count();
    assert_eq!((blobs, store.count()), (2, 4));
}

fn places(directory: &Path, conf: &str) -> RemoteOptions {
    let path = directory.join("registries.conf");
    fs::write(&path, conf).unwrap();
    let mut options = options();
    options.places.registries_conf = Some(path);
    options
}

#[test]
fn mirrors_are_asked_in_order_and_passed_by_when_they_fail() {
    let directory = tempfile::tempdir().unwrap();
    let (empty, good) = (
        Server::start(|_| answer("404 Not Found", &[], b"")),
        Server::start(|request| {
            assert_eq!(
                request.header("authorization"),
                None,
                "the password is not for mirrors"
            );
            registry(request, &data(SIZE))
        }),
    );
    let conf = format!(
        "[[registry]]\nprefix = 'reg.invalid/team'\nlocation = 'reg.invalid/lab'\n\
         [[registry.mirror]]\nlocation = '127.0.0.1:1/x'\n\
         [[registry.mirror]]\nlocation = '{}/lab'\n\
         [[registry.mirror]]\nlocation = '{}/lab'\n",
        empty.host(),
        good.host()
    );
    let with_login = RemoteOptions {
        username: Some("me".into()),
        password: Some("pw".into()),
        ..places(directory.path(), &conf)
    };
    let it = setup(with_login);
    let (resolved, _) = it.resolve("oras://reg.invalid/team/py:3").unwrap();
    assert_eq!(resolved.reference, "oras://reg.invalid/team/py:3");
    let blob = it.client.blob(&resolved).unwrap();
    (0..2).for_each(|_| check(&blob));
    // Each failed once for the manifest and once for the blob, and then had a rest.
    assert_eq!((empty.count(), good.count()), (2, 3));
    assert!(it.listener.heard_of("mirror passed by") && it.listener.heard_of("connection refused"));
}

#[test]
fn the_registry_itself_decides_when_all_mirrors_fail() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(|request| registry(request, &data(SIZE)));
    let conf = format!(
        "[[registry]]\nlocation = '{}'\n[[registry.mirror]]\nlocation = '127.0.0.1:1'\n\
         [[registry]]\nlocation = 'bad.invalid'\nblocked = true\n",
        server.host()
    );
    let it = setup(places(directory.path(), &conf));
    check(&open(&it, &server).unwrap());
    let error = it
        .resolve(&format!("oras://{}/lab/py:4", server.host()))
        .unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error}");
    let error = it.resolve("oras://bad.invalid/x").unwrap_err();
    assert!(matches!(error, RemoteError::Blocked { .. }), "{error}");
}

#[test]
fn warnings_of_the_registry_are_told_once() {
    let server = Server::start(|request| {
        let mut steps = registry(request, &data(SIZE));
        if let Some(Step::Send(bytes)) = steps.first_mut() {
            let text = String::from_utf8_lossy(bytes).replacen(
                "\r\n",
                "\r\nWarning: 299 - \"moving \\\"soon\\\"\"\r\n",
                1,
            );
            if request.target.contains("manifests") {
                *bytes = text.into_bytes();
            }
        }
        steps
    });
    let it = setup(options());
    for _ in 0..2 {
        it.resolve(&name(&server)).unwrap();
    }
    assert_eq!(
        it.listener.heard(),
        [format!("{} says: moving \"soon\"", server.host())]
    );
}
