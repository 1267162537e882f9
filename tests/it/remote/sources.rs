//! Web servers: ours, nginx with a certificate of the tests' own authority, Python's without ranges.

use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::daemon;
use skiff_tests::web::{Authority, Content, Place, Server, Setup, Site};

use super::{compare, picture, python_sif};

#[test]
fn http_shows_what_the_file_shows() {
    require!("exec from http"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("http");
    let sif = python_sif();
    let wanted = picture(&place, sif.to_str().expect("plain"));
    let server = Server::start(Site::with("/a.sif", Content::file(&sif).expect("there")));
    let url = server.url("/a.sif");
    compare(&wanted, &picture(&place, &url), "the image over http");
    let log = server.log();
    assert_eq!(log.repeated_bytes(), 0, "{}", log.repeated());
    place.wait_for_the_end();
    log.clear();
    compare(&wanted, &picture(&place, &url), "the image from the cache");
    assert_eq!(log.data_requests(), 0, "{log}");
}

#[test]
fn https_wants_an_authority_that_is_known() {
    require!("exec from https"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("https");
    let authority = Authority::new();
    let setup = Setup {
        tls: Some(authority.server(&["localhost"])),
        name: "localhost".to_owned(),
        ..Setup::default()
    };
    let content = Content::file(&python_sif()).expect("there");
    let server = Server::with(setup, Site::with("/a.sif", content));
    let url = server.url("/a.sif");
    let refused = place.exec(&url, &["true"]).run();
    let line = skiff_tests::web::place::error_lines(&refused, 1);
    assert!(line.contains("certificate is not trusted"), "{line}");
    assert_eq!(server.log().len(), 0, "asked a server that is not trusted");
    authority.trust(&place.containers(), &server.host());
    place
        .exec(&url, &["true"])
        .run()
        .expect_success("a known authority");
}

#[test]
fn nginx_with_tls_and_the_authority_in_the_home() {
    require!("exec from nginx"; Skiff, Apptainer, Fuse, UserNamespaces, Nginx);
    let place = Place::new("nginx");
    let sif = python_sif();
    let wanted = picture(&place, sif.to_str().expect("plain"));
    let authority = Authority::new();
    let nginx = daemon::nginx(
        &place.folder.join("nginx"),
        sif.parent().expect("a folder"),
        &authority.identity(&["localhost"]),
        None,
    );
    authority.trust(&place.containers(), &nginx.host());
    let url = nginx.url("/zstd.sif");
    compare(&wanted, &picture(&place, &url), "the image on nginx");
    place.wait_for_the_end();
    let asked = nginx.gets(" 206 ") + nginx.gets(" 200 ");
    assert!(asked > 0, "{}", nginx.log());
    compare(&wanted, &picture(&place, &url), "the image from the cache");
    let again = nginx.gets(" 206 ") + nginx.gets(" 200 ");
    assert_eq!(again, asked, "{}", nginx.log());
    // The usual place: the home.
    let certs = ordinary().home.join(".config/containers");
    authority.trust(&certs, &nginx.host());
    let mut cmd = place.exec(&url, &["true"]);
    cmd.env("XDG_CONFIG_HOME", "")
        .env("SKIFF_CACHE_DIR", place.folder.join("other"));
    let outcome = cmd.run();
    std::fs::remove_dir_all(certs.join("certs.d").join(nginx.host())).expect("just made");
    outcome.expect_success("an authority in the home");
}

#[test]
fn a_server_without_ranges_will_do() {
    require!("exec from http.server"; Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("python");
    let sif = python_sif();
    let wanted = picture(&place, sif.to_str().expect("plain"));
    let python = daemon::python(sif.parent().expect("a folder"));
    let url = python.url("/zstd.sif");
    compare(&wanted, &picture(&place, &url), "the image on http.server");
    place.wait_for_the_end();
    let before = python.gets("zstd.sif");
    compare(&wanted, &picture(&place, &url), "the image from the cache");
    // Asking whether it is still the same is no fetch of data.
    let asked = python.gets("zstd.sif") - before;
    assert!(asked <= 1, "{asked} requests: {}", python.log());
}
