//! Logins: shown to the registry, kept, listed, forgotten.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::login::{Login, list, login, logout, registry_of};
use super::super::server::{Request, Server, Step, answer};
use super::*;

/// Lets `me` with `pw` in, by a token from itself.
fn door(request: &Request) -> Vec<Step> {
    let host = request.header("host").unwrap();
    match (
        request.target.split('?').next().unwrap(),
        request.header("authorization"),
    ) {
        ("/token", Some("Basic bWU6cHc=")) => {
            assert_eq!(request.target, "/token?service=reg&account=me");
            answer("200 OK", &[], br#"{"token":"t"}"#)
        }
        ("/v2/", Some("Bearer t")) => answer("200 OK", &[], b"{}"),
        ("/v2/", _) => {
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"reg\"");
            answer("401 Unauthorized", &[&challenge], b"")
        }
        _ => answer("401 Unauthorized", &[], b""),
    }
}

#[test]
fn logins_are_checked_kept_listed_and_forgotten() {
    let server = Server::start(door);
    let host = server.host();
    let directory = tempfile::tempdir().unwrap();
    let mut options = options();
    options.places.apptainer = Some(directory.path().join("apptainer"));
    options.places.docker = Some(directory.path().join("docker"));
    let it = setup(options.clone());
    let path = directory.path().join("apptainer/docker-config.json");

    let error = login(&it.client, &host, "me", "wrong").unwrap_err();
    assert!(matches!(error, RemoteError::Denied { .. }), "{error}");
    assert!(!path.exists() && !error.to_string().contains("wrong"));
    assert!(!error.to_string().contains("registry login"), "{error}");

    assert_eq!(login(&it.client, &host, "me", "pw").unwrap(), path);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        format!(
            "{{\n\t\"auths\": {{\n\t\t\"{host}\": {{\n\t\t\t\"auth\": \"bWU6cHc=\"\n\t\t}}\n\t}}\n}}"
        )
    );
    let entry = Login {
        registry: host.clone(),
        username: Some("me".to_owned()),
        file: path.clone(),
    };
    assert_eq!(list(&options).unwrap(), [entry]);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    assert_eq!(logout(&options, &host).unwrap(), (path.clone(), true));
    assert_eq!(logout(&options, &host).unwrap(), (path, false));
    assert_eq!(list(&options).unwrap(), []);
}

#[test]
fn what_else_a_file_holds_stays() {
    let directory = tempfile::tempdir().unwrap();
    let docker = directory.path().join("docker");
    fs::create_dir(&docker).unwrap();
    let target = directory.path().join("kept.json");
    fs::write(&target, r#"{"credsStore": "x", "auths": {"other": {}, "https://index.docker.io/v1/": {"auth": "YTpi"}}}"#).unwrap();
    std::os::unix::fs::symlink(&target, docker.join("config.json")).unwrap();
    let mut options = options();
    options.places.docker = Some(docker.clone());
    // A docker configuration is used when there is none of Apptainer's.
    options.places.apptainer = Some(directory.path().join("apptainer"));
    let listed = list(&options).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].registry.as_str(), listed[0].username.as_deref()),
        ("docker.io", Some("a"))
    );
    let server = Server::start(door);
    assert_eq!(
        login(&setup(options.clone()).client, &server.host(), "me", "pw").unwrap(),
        docker.join("config.json")
    );
    assert!(logout(&options, "docker.io").unwrap().1);
    let text = fs::read_to_string(&target).unwrap();
    assert!(
        text.contains("credsStore") && text.contains("other") && text.contains(&server.host()),
        "{text}"
    );
    assert!(
        !text.contains("YTpi")
            && fs::symlink_metadata(docker.join("config.json"))
                .unwrap()
                .is_symlink()
    );
}

#[test]
fn names_of_registries() {
    assert_eq!(registry_of("oras://Reg:5000").unwrap(), "reg:5000");
    assert_eq!(registry_of("docker://docker.io/").unwrap(), "docker.io");
    for bad in [
        "reg",
        "http://reg",
        "oras://reg/path",
        "oras://",
        "docker://u:p@reg",
    ] {
        assert!(registry_of(bad).is_err(), "{bad}");
    }
}
