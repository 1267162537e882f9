//! SIFs in Docker's registry: pushed by real Apptainer, run by skiff.

use std::sync::Arc;
use std::time::Duration;

use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::daemon::{self, Access, Daemon, PASSWORD};
use skiff_tests::web::place::error_lines;
use skiff_tests::web::token::{Signer, TokenServer};
use skiff_tests::web::{Authority, Place, Server};
use skiff_tests::{command::Cmd, program};

use super::{compare, picture, picture_by, python_sif};

/// Apptainer as the ordinary user, with credentials in the environment.
fn apptainer(place: &Place, login: bool) -> Cmd {
    let apptainer = program::real_apptainer().expect("required");
    let mut cmd = ordinary().command(apptainer.called("apptainer"));
    cmd.env("APPTAINER_CACHEDIR", place.folder.join("apptainer"));
    cmd.env("APPTAINER_CONFIGDIR", place.folder.join("apptainer-config"));
    if login {
        give_login(&mut cmd);
    }
    cmd
}

fn give_login(cmd: &mut Cmd) {
    cmd.env("APPTAINER_DOCKER_USERNAME", "reader");
    cmd.env("APPTAINER_DOCKER_PASSWORD", PASSWORD);
}

fn push(place: &Place, registry: &Daemon, login: bool) -> String {
    let name = format!("oras://localhost:{}/lab/py:3", registry.port());
    apptainer(place, login)
        .args(["push", "--no-https"])
        .arg(python_sif())
        .arg(&name)
        .run()
        .expect_success("apptainer push");
    name
}

#[test]
fn an_open_registry_and_the_same_behind_tls() {
    require!("exec from a registry"; Skiff, Apptainer, Fuse, UserNamespaces, Registry, Nginx);
    let place = Place::new("oras");
    let sif = python_sif();
    let wanted = picture(&place, sif.to_str().expect("plain"));
    let registry = daemon::registry(&place.folder.join("registry"), Access::Open);
    let name = push(&place, &registry, false);
    // It talks plain http, on this machine.
    let mut cmd = place.exec(&name, &["true"]);
    cmd.env("APPTAINER_NOHTTPS", "1");
    cmd.run().expect_success("by the variable");
    let mut cmd = place.skiff(&["exec", "--no-https", &name, "true"]);
    cmd.run().expect_success("by the option");
    // Elsewhere nothing of it is known.
    let place = Place::new("oras-tls");
    let authority = Authority::new();
    let nginx = daemon::nginx(
        &place.folder.join("nginx"),
        &place.folder,
        &authority.identity(&["localhost"]),
        Some(registry.port()),
    );
    authority.trust(&place.containers(), &nginx.host());
    let secure = format!("oras://{}/lab/py:3", nginx.host());
    compare(
        &wanted,
        &picture(&place, &secure),
        "the image in a registry",
    );
    place.wait_for_the_end();
    let blobs = nginx.gets("/blobs/");
    assert!(blobs > 0, "{}", nginx.log());
    compare(
        &wanted,
        &picture(&place, &secure),
        "the image from the cache",
    );
    assert_eq!(nginx.gets("/blobs/"), blobs, "{}", nginx.log());
}

#[test]
fn a_registry_with_a_password() {
    require!("exec from a registry with htpasswd"; Skiff, Apptainer, Fuse, UserNamespaces, Registry);
    let place = Place::new("htpasswd");
    let registry = daemon::registry(&place.folder.join("registry"), Access::Password);
    let name = push(&place, &registry, true);
    let mut cmd = place.skiff(&["exec", "--no-https", &name, "true"]);
    let line = error_lines(&cmd.run(), 1);
    assert!(line.contains("access denied"), "{line}");
    let mut cmd = place.skiff(&["exec", "--no-https", &name, "python3", "-c", "print(6*7)"]);
    give_login(&mut cmd);
    let outcome = cmd.run().expect_success("with a password");
    assert_eq!(outcome.stdout_text(), "42\n");
    looks_the_same(&place, &name, "with a password");
}

/// With the login, all of the image is as it is at home.
fn looks_the_same(place: &Place, name: &str, what: &str) {
    let wanted = picture(place, python_sif().to_str().expect("plain"));
    compare(&wanted, &picture_by(place, name, &mut give_login), what);
}

#[test]
fn a_registry_with_tokens() {
    require!("exec from a registry with tokens"; Skiff, Apptainer, Fuse, UserNamespaces, Registry);
    let place = Place::new("token");
    let signer = Signer::new("tests", "registry");
    let certificate = signer.certificate.clone();
    let tokens = Server::start(Arc::new(TokenServer {
        signer,
        // The registry adds a minute: what is good for three seconds is dated back by it.
        lifetime: Duration::from_secs(3),
        dated_back: true,
        login: Some(("reader".to_owned(), PASSWORD.to_owned())),
    }));
    let access = Access::Token {
        realm: &tokens.url("/token"),
        issuer: "tests",
        service: "registry",
        certificate: &certificate,
    };
    let registry = daemon::registry(&place.folder.join("registry"), access);
    let name = push(&place, &registry, true);
    tokens.log().clear();
    let mut cmd = place.skiff(&["exec", "--no-https", &name, "true"]);
    let line = error_lines(&cmd.run(), 1);
    assert!(line.contains("access denied"), "{line}");
    // The token ends while the program runs.
    let script = "cat /usr/bin/bash >/dev/null; sleep 5; cat /usr/bin/python3 | cksum";
    let mut cmd = place.skiff(&["exec", "--no-https", &name, "sh", "-c", script]);
    give_login(&mut cmd);
    let outcome = cmd.run().expect_success("with tokens");
    let local = place
        .exec(
            python_sif().to_str().expect("plain"),
            &["sh", "-c", "cat /usr/bin/python3 | cksum"],
        )
        .run();
    assert_eq!(outcome.stdout_text(), local.stdout_text());
    let given = tokens.log().count(|entry| entry.status == 200);
    assert!((2..=6).contains(&given), "{given} tokens: {}", tokens.log());
    looks_the_same(&place, &name, "with tokens");
}
