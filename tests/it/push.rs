//! SIFs pushed by skiff: real Apptainer pulls them, skiff runs them and checks what it gets by the
//! digests that were published beside them.

use std::sync::Arc;
use std::time::Duration;

use skiff_tests::command::Cmd;
use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;
use skiff_tests::web::daemon::{self, Access, Daemon, PASSWORD};
use skiff_tests::web::place::error_lines;
use skiff_tests::web::token::{Signer, TokenServer};
use skiff_tests::web::{Place, Server};

use super::remote::{compare, picture, python_sif};

fn name(registry: &Daemon, tag: &str) -> String {
    format!("oras://localhost:{}/lab/py:{tag}", registry.port())
}

fn push(place: &Place, name: &str) -> Cmd {
    let sif = python_sif();
    place.skiff(&["push", "--no-https", sif.to_str().expect("plain"), name])
}

fn log_in(cmd: &mut Cmd) {
    cmd.env("APPTAINER_DOCKER_USERNAME", "reader");
    cmd.env("APPTAINER_DOCKER_PASSWORD", PASSWORD);
}

/// Real Apptainer as the ordinary user.
fn apptainer(place: &Place) -> Cmd {
    let apptainer = program::real_apptainer().expect("required");
    let mut cmd = ordinary().command(apptainer.called("apptainer"));
    cmd.env("APPTAINER_CACHEDIR", place.folder.join("apptainer"));
    cmd.env("APPTAINER_CONFIGDIR", place.folder.join("apptainer-config"));
    cmd
}

#[test]
fn apptainer_pulls_what_is_pushed() {
    require!("push"; Skiff, Apptainer, Registry);
    let place = Place::new("push-pull");
    let registry = daemon::registry(&place.folder.join("registry"), Access::Open);
    let ours = name(&registry, "ours");
    let outcome = push(&place, &ours).run().expect_success("push");
    assert_eq!(outcome.stderr_text(), "INFO:    Upload complete\n");
    let folder = place.folder.join("pulled");
    std::fs::create_dir(&folder).expect("fresh");
    ordinary().own(&folder);
    let pulled = folder.join("py.sif");
    apptainer(&place)
        .args(["pull", "--no-https"])
        .arg(&pulled)
        .arg(&ours)
        .run()
        .expect_success("apptainer pull");
    let bytes = |path| std::fs::read(path).expect("there");
    assert!(bytes(&pulled) == bytes(&python_sif()), "other bytes");
    // Nothing is sent twice, and Apptainer's own manifest is the same.
    let before = registry.log().matches("blob upload").count();
    push(&place, &ours).run().expect_success("push again");
    assert_eq!(registry.log().matches("blob upload").count(), before);
    let theirs = name(&registry, "theirs");
    apptainer(&place)
        .args(["push", "--no-https"])
        .arg(python_sif())
        .arg(&theirs)
        .run()
        .expect_success("apptainer push");
    let manifest = |tag: &str| {
        let link = format!(
            "registry/docker/registry/v2/repositories/lab/py/_manifests/tags/{tag}/current/link"
        );
        let found = find(&place.folder, &link);
        std::fs::read_to_string(found).expect("a manifest")
    };
    assert_eq!(manifest("ours"), manifest("theirs"));
}

/// The registry's file that ends so.
fn find(folder: &std::path::Path, end: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with(end.trim_start_matches("registry/")) {
                return path;
            }
        }
    }
    panic!("no {end} in {}", folder.display());
}

#[test]
fn what_is_pushed_runs_and_is_checked_part_by_part() {
    require!("push"; Skiff, Apptainer, Fuse, UserNamespaces, Registry);
    let place = Place::new("push-run");
    let wanted = picture(&place, python_sif().to_str().expect("plain"));
    let registry = daemon::registry(&place.folder.join("registry"), Access::Open);
    let name = name(&registry, "1");
    push(&place, &name).run().expect_success("push");
    compare(&wanted, &picture(&place, &name), "the pushed image");
    place.wait_for_the_end();
    let outcome = place.skiff(&["inspect", &name]).run();
    let said = outcome.stderr_text();
    assert!(
        said.contains("verified"),
        "no digests were used: {said}\n{}",
        registry.log()
    );
    // This registry does not know referrers: the tag stands in for them.
    assert!(
        registry.gets("/manifests/sha256-") > 0,
        "{}",
        registry.log()
    );
    // Without, there are none.
    let plain = name.replace(":1", ":2");
    let plain = plain.replace("lab/py", "lab/plain");
    let sif = python_sif();
    let sif = sif.to_str().expect("plain");
    let arguments = ["push", "--no-chunk-digests", sif, &plain];
    place.skiff(&arguments).run().expect_success("push without");
    let tags = registry.log();
    let published = tags
        .lines()
        .filter(|line| line.contains("PUT") && line.contains("lab/plain/manifests/sha256"))
        .count();
    assert_eq!(published, 0);
}

#[test]
fn registries_that_want_to_know_who_pushes() {
    require!("push"; Skiff, Apptainer, Fuse, UserNamespaces, Registry);
    let place = Place::new("push-login");
    let signer = Signer::new("tests", "registry");
    let certificate = signer.certificate.clone();
    let tokens = Server::start(Arc::new(TokenServer {
        signer,
        lifetime: Duration::from_secs(60),
        dated_back: true,
        login: Some(("reader".to_owned(), PASSWORD.to_owned())),
    }));
    let realm = tokens.url("/token");
    let token = Access::Token {
        realm: &realm,
        issuer: "tests",
        service: "registry",
        certificate: &certificate,
    };
    for (folder, access) in [("password", Access::Password), ("token", token)] {
        let registry = daemon::registry(&place.folder.join(folder), access);
        let name = name(&registry, "3");
        let line = error_lines(&push(&place, &name).run(), 1);
        assert!(
            line.starts_with("FATAL:   Unable to push image to oci registry: ")
                && line.contains("access denied"),
            "{line}"
        );
        let mut cmd = push(&place, &name);
        log_in(&mut cmd);
        cmd.run().expect_success("with a login");
        let mut cmd = place.skiff(&["exec", "--no-https", &name, "python3", "-c", "print(6*7)"]);
        log_in(&mut cmd);
        let outcome = cmd.run().expect_success("run with a login");
        assert_eq!(outcome.stdout_text(), "42\n");
    }
}
