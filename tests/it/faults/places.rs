//! Registries whose tokens and addresses expire, and servers that send elsewhere.

use std::sync::Arc;
use std::time::Duration;

use skiff_tests::require;
use skiff_tests::web::registry::{Door, Elsewhere};
use skiff_tests::web::site::Store;
use skiff_tests::web::{Content, Fault, Place, Registry, Server, Setup, Site, When};

use super::{EARLY, LATE, Reader, Verdict, digests, judge, patient};
use crate::remote::python_sif;

fn wanted(place: &Place) -> String {
    let files: Vec<_> = EARLY.iter().chain(LATE).copied().collect();
    digests(place, python_sif().to_str().expect("plain"), &files)
}

fn exec(place: &Place, name: &str) -> Reader {
    let mut cmd = place.skiff(&["exec", "--no-https", name]);
    cmd.env("APPTAINER_DOCKER_USERNAME", "reader")
        .env("APPTAINER_DOCKER_PASSWORD", "pw");
    Reader::start(patient(cmd))
}

/// Tokens that end while a program runs, with and without word of it, and tokens that are taken
/// back: new ones are asked for, few of them.
#[test]
fn tokens_expire_in_the_middle() {
    require!("expired tokens"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("expiry");
    let wanted = wanted(&place);
    for told_lifetime in [None, Some(1), Some(3600)] {
        place.wait_for_the_end();
        std::fs::remove_dir_all(place.cache()).ok();
        let registry = Registry::new();
        registry.push("lab/py", "3", &Content::file(&python_sif()).expect("there"));
        let server = Server::start(registry.clone());
        registry.close(Door {
            realm: server.url("/token"),
            lifetime: Duration::from_secs(2),
            told_lifetime,
            login: Some(("reader".to_owned(), "pw".to_owned())),
        });
        let reader = exec(&place, &format!("oras://{}/lab/py:3", server.host()));
        let before = registry.issued();
        std::thread::sleep(Duration::from_millis(2500));
        let outcome = reader.go_on();
        let what = format!("a token that says {told_lifetime:?}");
        let verdict = judge(&outcome, &wanted, &what);
        assert!(matches!(verdict, Verdict::Right), "{what}: {verdict:?}");
        let issued = registry.issued();
        assert!(issued > before, "{what}: no new token");
        assert!(issued <= 12, "{what}: {issued} tokens\n{}", server.log());
    }
}

/// Addresses of blobs that expire are asked for anew; they are kept as long as they hold, and those
/// who keep the blobs are told nothing of passwords and tokens.
#[test]
fn addresses_expire_in_the_middle() {
    require!("expired redirects"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("redirect");
    let wanted = wanted(&place);
    let content = Content::file(&python_sif()).expect("there");
    let registry = Registry::new();
    let digest = registry.push("lab/py", "3", &content);
    let site = Site::with(&format!("/{digest}"), content);
    let store = Server::with(
        Setup {
            name: "localhost".to_owned(),
            ..Setup::default()
        },
        Arc::new(Store(site)),
    );
    registry.send_away(Elsewhere {
        store: store.url(""),
        lifetime: Duration::from_secs(2),
    });
    let server = Server::start(registry.clone());
    registry.close(Door {
        realm: server.url("/token"),
        lifetime: Duration::from_secs(3600),
        told_lifetime: Some(3600),
        login: Some(("reader".to_owned(), "pw".to_owned())),
    });
    let reader = exec(&place, &format!("oras://{}/lab/py:3", server.host()));
    std::thread::sleep(Duration::from_millis(2500));
    let outcome = reader.go_on();
    let verdict = judge(&outcome, &wanted, "an address that expired");
    assert!(matches!(verdict, Verdict::Right), "{verdict:?}");
    let refused = store.log().count(|entry| entry.status == 403);
    assert!(refused > 0, "it did not expire\n{}", store.log());
    let told = store.log().count(|entry| entry.authorization.is_some());
    assert_eq!(told, 0, "credentials went elsewhere\n{}", store.log());
    let asked = server.log().count(|entry| entry.path.contains("/blobs/"));
    let fetched = store.log().data_requests();
    assert!(
        asked * 3 < fetched,
        "{asked} redirects for {fetched} requests: they were not kept"
    );
}

/// A login in a URL is for that server and no other, and neither it nor a signature is shown.
#[test]
fn a_login_in_a_url_stays_with_its_server() {
    require!("credentials and redirects"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("login");
    let wanted = wanted(&place);
    let content = Content::file(&python_sif()).expect("there");
    let other = Server::with(
        Setup {
            name: "localhost".to_owned(),
            ..Setup::default()
        },
        Site::with("/b.sif", content),
    );
    let first = Server::start(Site::new());
    first
        .faults()
        .add_on(Fault::Redirect(other.url("/b.sif")), When::Always, |_| true);
    let url = format!("http://reader:hush@{}/a.sif?sig=hush", first.host());
    let reader = Reader::start(patient(place.skiff(&["exec", &url])));
    let verdict = judge(&reader.go_on(), &wanted, "sent elsewhere");
    assert!(matches!(verdict, Verdict::Right), "{verdict:?}");
    let with = |server: &Server| server.log().count(|entry| entry.authorization.is_some());
    assert!(with(&first) > 0, "the login was not used\n{}", first.log());
    assert_eq!(with(&other), 0, "it went elsewhere\n{}", other.log());
    for file in place.cache_files() {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(4).any(|window| window == b"hush");
        assert!(!found, "the password lies in {}", file.display());
    }
    let quiet = |args: &[&str], code: i32| {
        let outcome = patient(place.skiff(args)).run();
        assert_eq!(outcome.code(), Some(code), "{args:?}: {outcome}");
        assert!(!outcome.to_string().contains("hush"), "{args:?}: {outcome}");
    };
    quiet(&["stats", &url], 0);
    quiet(&["stats", "--all", "--json"], 0);
    quiet(&["cache", "list", "-v"], 0);
    quiet(&["cache", "pin", &url], 0);
    quiet(&["cache", "pin", &url.replace("a.sif", "b.sif")], 255);
    first.go();
    place.wait_for_the_end();
    std::fs::remove_dir_all(place.cache()).expect("there");
    quiet(&["exec", &url, "true"], 255);
    let name = url.replace("http:", "oras:").replace("a.sif", "A");
    quiet(&["exec", &name, "true"], 255);
    quiet(&["warm", "--strict", &name], 1);
}

/// Servers that send around in circles.
#[test]
fn circles_are_left() {
    require!("redirects in circles"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("circle");
    let server = Server::start(Site::new());
    let there = server.url("/a.sif");
    server
        .faults()
        .add_on(Fault::Redirect(there.clone()), When::Always, |_| true);
    let outcome = patient(place.exec(&there, &["true"])).run();
    let Verdict::Failed(line) = judge(&outcome, "", "a circle") else {
        panic!("it ran");
    };
    eprintln!("{line}");
    assert!(server.log().len() < 200, "{} requests", server.log().len());
}
