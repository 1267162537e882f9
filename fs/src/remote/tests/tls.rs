//! Certificates: who is trusted, and where that is said.
//!
//! The files under `tls/` are an authority made for these tests, a certificate of its for 127.0.0.1 and
//! one for a client, valid for a hundred years.

use std::fs;
use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::super::server::{Request, Server, Step, answer, file};
use super::*;

const AUTHORITY: &str = include_str!("tls/ca.pem");
const SERVER: (&str, &str) = (
    include_str!("tls/server.pem"),
    include_str!("tls/server.key"),
);
const CLIENT: (&str, &str) = (
    include_str!("tls/client.pem"),
    include_str!("tls/client.key"),
);

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn config(asks_for_certificates: bool) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if asks_for_certificates {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(AUTHORITY)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_slice(SERVER.1.as_bytes()).unwrap();
    builder
        .with_single_cert(vec![certificate(SERVER.0)], key)
        .unwrap()
}

fn image(request: &Request) -> Vec<Step> {
    file(request, &data(100_000), &["ETag: \"one\""])
}

fn url(server: &Server) -> String {
    server.url("/image.sif").replace("http:", "https:")
}

/// Options with nothing of this machine's own configuration.
fn bare(directory: &Path) -> RemoteOptions {
    let mut options = options();
    options.places.etc_containers = directory.join("containers");
    options.places.etc_docker = directory.join("docker");
    options
}

fn site(directory: &Path, server: &Server, files: &[(&str, &str)]) {
    let place = directory.join("docker/certs.d").join(server.host());
    fs::create_dir_all(&place).unwrap();
    for (name, text) in files {
        fs::write(place.join(name), text).unwrap();
    }
}

#[test]
fn an_unknown_authority_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_tls(config(false), image);
    let it = setup(bare(directory.path()));
    let error = it.resolve(&url(&server)).unwrap_err();
    assert!(matches!(error, RemoteError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("certs.d"), "{error}");
    assert_eq!((server.count(), it.listener.heard().len()), (0, 0));
    // A registry on this machine may do without https; one that has it must be trusted.
    let error = it
        .resolve(&format!("oras://{}/a", server.host()))
        .unwrap_err();
    assert!(matches!(error, RemoteError::Untrusted { .. }), "{error}");
}

#[test]
fn an_authority_in_certs_d_is_trusted_for_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let (server, other) = (
        Server::start_tls(config(false), image),
        Server::start_tls(config(false), image),
    );
    site(directory.path(), &server, &[("ca.crt", AUTHORITY)]);
    let it = setup(bare(directory.path()));
    let (resolved, _) = it.resolve(&url(&server)).unwrap();
    assert_eq!(
        read(&it.client.blob(&resolved).unwrap(), 5..10).unwrap(),
        data(10)[5..10]
    );
    assert!(it.resolve(&url(&other)).is_err());
    // Registries too: this one knows no image, but it was reached.
    let error = it
        .resolve(&format!("oras://{}/a", server.host()))
        .unwrap_err();
    assert!(matches!(error, RemoteError::Unusable { .. }), "{error}");
}

#[test]
fn an_authority_in_the_environment_is_trusted_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    fs::write(&path, AUTHORITY).unwrap();
    let server = Server::start_tls(config(false), image);
    let mut options = bare(directory.path());
    options.places.ssl_cert_file = Some(path);
    setup(options).resolve(&url(&server)).unwrap();
}

#[test]
fn a_server_that_asks_who_we_are_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_tls(config(true), image);
    site(directory.path(), &server, &[("ca.crt", AUTHORITY)]);
    assert!(
        setup(bare(directory.path()))
            .resolve(&url(&server))
            .is_err()
    );
    site(
        directory.path(),
        &server,
        &[("me.cert", CLIENT.0), ("me.key", CLIENT.1)],
    );
    setup(bare(directory.path()))
        .resolve(&url(&server))
        .unwrap();
}

#[test]
fn an_insecure_registry_needs_no_authority() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_tls(config(false), |_| answer("404 Not Found", &[], b""));
    let mut options = bare(directory.path());
    let conf = directory.path().join("registries.conf");
    fs::write(
        &conf,
        format!(
            "[[registry]]\nlocation = '{}'\ninsecure = true\n",
            server.host()
        ),
    )
    .unwrap();
    options.places.registries_conf = Some(conf);
    let error = setup(options)
        .resolve(&format!("oras://{}/a", server.host()))
        .unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error}");
    assert_eq!(server.count(), 1);
}

#[test]
fn a_redirect_to_plain_http_carries_no_login_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let plain = Server::start(|request| {
        assert_eq!(request.header("authorization"), None);
        image(request)
    });
    let target = format!("Location: {}", plain.url("/x"));
    let server = Server::start_tls(config(false), move |request| {
        assert!(request.header("authorization").is_some());
        answer("302 Found", &[&target], b"")
    });
    site(directory.path(), &server, &[("ca.crt", AUTHORITY)]);
    let it = setup(bare(directory.path()));
    it.resolve(&format!("https://me:pw@{}/x", server.host()))
        .unwrap();
    assert!(
        it.listener.heard_of("redirected from https to http"),
        "{:?}",
        it.listener.heard()
    );
}
