//! Images that docker's daemon has.

use std::sync::Arc;

use skiff_tests::command::Cmd;
use skiff_tests::oci::{self, Packing};
use skiff_tests::require;
use skiff_tests::require::skip;
use skiff_tests::web::daemon;
use skiff_tests::web::place::error_lines;
use skiff_tests::web::{Content, Place, Server, Site};

use super::{apptainer, in_folder, layout_with, tree};

#[test]
fn images_of_dockers_daemon() {
    require!("images of docker's daemon"; Skiff, Apptainer, Fuse, UserNamespaces, Mksquashfs, Skopeo, Docker, Root);
    let place = Place::new("convert-daemon");
    let folder = layout_with(&place, Packing::Gzip);
    let docker = match daemon::docker(&place.folder.join("docker")) {
        Ok(docker) => docker,
        Err(log) => {
            let last = log.trim_end().lines().last().unwrap_or_default();
            return skip(
                "images of docker's daemon",
                &format!("it does not start: {last}"),
            );
        }
    };
    let host = format!("unix://{}", place.folder.join("docker/sock").display());
    let port = docker.url("").trim_end_matches('/').to_owned();
    oci::give_to_docker(&folder, &host, "lab/image:1");

    // The same as from the layout, by its name, through the socket and the port.
    let epoch = ("SOURCE_DATE_EPOCH", "1700000000");
    let built = |sif: &str, flags: &[&str], name: &str| {
        let mut cmd = in_folder(&place, &["build"]);
        cmd.env(epoch.0, epoch.1).args(flags).args([sif, name]);
        cmd.run().expect_success(name);
        let mut seen = tree(&place, &place.folder.join(sif));
        seen.retain(|path, _| !path.ends_with("/Singularity") && !path.ends_with("labels.json"));
        seen
    };
    let wanted = built("layout.sif", &[], "oci:layout");
    for (sif, host) in [("socket.sif", &host), ("port.sif", &port)] {
        let flags = ["--docker-host", host.as_str()];
        assert_eq!(
            built(sif, &flags, "docker-daemon:lab/image:1"),
            wanted,
            "{host}"
        );
    }
    let labels = in_folder(&place, &["inspect", "socket.sif"]).run();
    for line in [
        "bootstrap: docker-daemon\n",
        "from: lab/image:1\n",
        "maker: tests\n",
    ] {
        assert!(labels.stdout_text().contains(line), "{labels}");
    }

    // Both programs run it as they run each other's; what is converted once is used again, by any
    // name of the same image, until the name stands for another.
    let read = ["cat", "/data/replaced"];
    let run = |name: &str| {
        let mut cmd = place.skiff(&["exec"]);
        cmd.env("APPTAINER_DOCKER_HOST", &host).arg(name).args(read);
        cmd.run().expect_success(name)
    };
    oci::give_to_docker(&folder, &host, "lab/image:2");
    let first = run("docker-daemon:lab/image:1");
    assert_eq!(first.stdout_text(), "new\n");
    assert!(
        first.stderr_text().contains("Converting OCI blobs"),
        "{first}"
    );
    for name in ["docker-daemon:lab/image:1", "docker-daemon:lab/image:2"] {
        let again = run(name);
        assert_eq!(again.stdout_text(), "new\n");
        assert!(
            again.stderr_text().contains("Using cached SIF image"),
            "{again}"
        );
    }
    let mut theirs = apptainer(&place);
    theirs.env("APPTAINER_DOCKER_HOST", &host);
    let theirs = theirs
        .args(["exec", "docker-daemon:lab/image:1"])
        .args(read)
        .run();
    assert_eq!(theirs.stdout_text(), "new\n", "{theirs}");
    let other = Place::new("convert-daemon-other");
    oci::give_to_docker(&layout_of_one(&other), &host, "lab/image:1");
    let changed = run("docker-daemon:lab/image:1");
    assert_eq!(changed.stdout_text(), "another\n", "{changed}");

    // Bases of definitions, and pulls.
    let text = "Bootstrap: docker-daemon\nFrom: lab/image:2\n%post\n cat /data/replaced >/made\n";
    std::fs::write(place.folder.join("x.def"), text).expect("room");
    let mut cmd = in_folder(&place, &["build", "defined.sif", "x.def"]);
    cmd.env("DOCKER_HOST", &host)
        .run()
        .expect_success("a definition");
    let seen = in_folder(&place, &["exec", "defined.sif", "cat", "/made"]).run();
    assert_eq!(seen.stdout_text(), "new\n", "{seen}");
    let pulled = ["pull", "--docker-host", &host, "docker-daemon:lab/image:2"];
    in_folder(&place, &pulled).run().expect_success("pull");
    assert!(place.folder.join("image_2.sif").exists());

    // What is not there, no names, and no daemon.
    for (host, name, words) in [
        (&*host, "docker-daemon:lab/none:1", "No such image"),
        (&host, "docker-daemon:lab/../../info", "no name of an image"),
        (&host, "docker-daemon:/lab/image:1", "no name of an image"),
        (&host, "docker-daemon:lab/a?b", "invalid reference"),
        (
            "unix:///nowhere/sock",
            "docker-daemon:lab/image:1",
            "does not answer",
        ),
        (
            "tcp://127.0.0.1:1",
            "docker-daemon:lab/image:1",
            "does not answer",
        ),
        ("junk", "docker-daemon:lab/image:1", "tcp://HOST:PORT"),
    ] {
        let args = ["build", "--docker-host", host, "none.sif", name];
        let outcome = in_folder(&place, &args).run();
        assert_eq!(outcome.code(), Some(255), "{outcome}");
        error_lines(&outcome, 1);
        assert!(outcome.stderr_text().contains(words), "{words}: {outcome}");
        assert!(!place.folder.join("none.sif").exists());
    }
    place.wait_for_the_end();
}

/// A daemon may say what it likes: what is kept for the next time is what it is called.
#[test]
fn a_daemon_that_lies() {
    require!("a daemon that lies"; Skiff, Fuse, UserNamespaces, Skopeo);
    let place = Place::new("convert-daemon-lies");
    let folder = layout_with(&place, Packing::Gzip);
    oci::docker_archive(&folder, &place.folder.join("saved.tar"));
    let archive = std::fs::read(place.folder.join("saved.tar")).expect("saved");
    let mut cmd = Cmd::new("tar");
    cmd.env("PATH", "/usr/bin:/bin").arg("-xOf");
    let list = cmd
        .arg(place.folder.join("saved.tar"))
        .arg("manifest.json")
        .run();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let config = list[0]["Config"].as_str().expect("a name").to_owned();
    let id = format!("sha256:{}", config.trim_end_matches(".json"));
    let other = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let site = Site::new();
    let server = Server::start(Arc::clone(&site) as _);
    let say = |id: &str| {
        let text = format!("{{\"Id\": \"{id}\"}}").into_bytes();
        site.put("/images/lab:1/json", Content::memory(text.clone()));
        site.put(&format!("/images/{id}/json"), Content::memory(text.clone()));
        site.put(&format!("/images/{other}/json"), Content::memory(text));
        site.put("/images/get", Content::memory(archive.clone()));
    };
    let host = format!("tcp://{}", server.host());
    let run = |name: &str, flags: &[&str]| {
        let mut cmd = place.skiff(&["exec"]);
        cmd.env("DOCKER_HOST", &host).args(flags).arg(name);
        cmd.args(["cat", "/data/replaced"]).run()
    };
    for (said, name, words) in [
        (&*other, "docker-daemon:lab:1", "not the image with its ID"),
        (&id, &*format!("docker-daemon:{other}"), "another ID"),
        ("junk", "docker-daemon:lab:1", "no digest"),
    ] {
        say(said);
        let outcome = run(name, &[]);
        assert_eq!(outcome.code(), Some(255), "{said}: {outcome}");
        assert!(
            error_lines(&outcome, 1).contains(words),
            "{said}: {outcome}"
        );
    }
    say(&id);
    let offline = run("docker-daemon:lab:1", &["--offline"]);
    assert!(error_lines(&offline, 1).contains("offline"), "{offline}");
    let outcome = run("docker-daemon:lab:1", &[]);
    assert_eq!(outcome.stdout_text(), "new\n", "{outcome}");
    let list = place.skiff(&["cache", "list", "-v"]).run().stdout_text();
    assert_eq!(list.matches("lab:1").count(), 1, "{list}");
    place.wait_for_the_end();
}

/// A layout of another image.
fn layout_of_one(place: &Place) -> std::path::PathBuf {
    let folder = layout_with(place, Packing::Gzip);
    let root = place.folder.join("root1");
    std::fs::write(root.join("data/replaced"), "another\n").expect("room");
    let tar = place.folder.join("1.tar");
    oci::archive(&root, &tar);
    std::fs::remove_dir_all(&folder).expect("just made");
    let at = |number: usize| (place.folder.join(format!("{number}.tar")), Packing::Gzip);
    let layers = vec![at(0), at(1)];
    oci::OciImage {
        layers,
        config: serde_json::json!({}),
    }
    .layout(&folder);
    folder
}
