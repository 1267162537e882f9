//! The commands around images that are elsewhere, from outside: logins, looking after the cache,
//! figures.

use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;
use skiff_tests::command::Cmd;
use skiff_tests::image::images;
use skiff_tests::pty::Terminal;
use skiff_tests::user::ordinary;
use skiff_tests::web::Place;
use skiff_tests::web::daemon::{self, Access, Daemon, PASSWORD};
use skiff_tests::{program, require};

/// Pushes an image with real Apptainer; returns its name.
fn push(place: &Place, registry: &Daemon, access: Access<'_>) -> String {
    let apptainer = program::real_apptainer().expect("required");
    let name = format!("oras://localhost:{}/lab/py:3", registry.port());
    let mut cmd = ordinary().command(apptainer.called("apptainer"));
    cmd.env("APPTAINER_CACHEDIR", place.folder.join("apptainer"))
        .env("APPTAINER_CONFIGDIR", place.folder.join("pusher"))
        .args(["push", "--no-https"])
        .arg(&images(apptainer).zstd_sif)
        .arg(&name);
    if matches!(access, Access::Password) {
        cmd.env("APPTAINER_DOCKER_USERNAME", "reader")
            .env("APPTAINER_DOCKER_PASSWORD", PASSWORD);
    }
    cmd.run().expect_success("apptainer push");
    name
}

/// skiff with a configuration directory of the place's own.
fn skiff(place: &Place, args: &[&str]) -> Cmd {
    let mut cmd = place.skiff(args);
    cmd.env("APPTAINER_CONFIGDIR", place.folder.join("apptainer-config"))
        .env("DOCKER_CONFIG", place.folder.join("docker"));
    cmd
}

#[test]
fn a_login_is_asked_for_tried_kept_used_and_forgotten() {
    require!("logins"; Skiff, Apptainer, Fuse, UserNamespaces, Registry);
    let place = Place::new("login");
    let registry = daemon::registry(&place.folder.join("registry"), Access::Password);
    let name = push(&place, &registry, Access::Password);
    let host = format!("localhost:{}", registry.port());
    let uri = format!("docker://{host}");
    let refused = |what: &str| {
        let outcome = skiff(&place, &["exec", "--disable-cache", &name, "true"]).run();
        assert_eq!(outcome.code(), Some(255), "{what}");
        assert!(
            outcome.stderr_text().contains("registry login"),
            "{what}: {}",
            outcome.stderr_text()
        );
    };
    refused("before the login");

    let outcome = skiff(
        &place,
        &["registry", "login", "-u", "reader", "-p", "wrong", &uri],
    )
    .run();
    assert_eq!(outcome.code(), Some(255));
    assert!(outcome.stderr_text().contains("while login to"));
    refused("after a login that failed");

    // On a terminal the password is asked for and not shown.
    let mut cmd = skiff(&place, &["registry", "login", "--username", "reader", &uri]);
    let mut terminal = Terminal::start(&mut cmd).expect("a terminal");
    terminal.until("Password / Token: ").expect("the question");
    terminal.send(&format!("{PASSWORD}\n")).expect("a keyboard");
    let shown = terminal.until("Token stored in").expect("success");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert_eq!(terminal.end().expect("an end"), 0);

    skiff(&place, &["exec", "--disable-cache", &name, "true"])
        .run()
        .expect_success("with the login");
    let list = skiff(&place, &["registry", "list"]).run();
    let list = list.expect_success("list").stdout_text();
    assert_eq!(
        list.lines().skip(2).collect::<Vec<_>>(),
        [format!("{uri}  ✓")]
    );

    let outcome = skiff(&place, &["registry", "logout", &format!("oras://{host}")]).run();
    let text = outcome.expect_success("logout").stderr_text();
    assert!(text.contains("Token removed from") && text.contains("Logout succeeded"));
    // Servers of the runs before may still have the token that the login got them.
    place.wait_for_the_end();
    refused("after the logout");

    // A password that comes through a pipe.
    let mut cmd = skiff(
        &place,
        &[
            "registry",
            "login",
            "-u",
            "reader",
            "--password-stdin",
            &uri,
        ],
    );
    cmd.stdin(format!("{PASSWORD}\n"));
    cmd.run().expect_success("login by pipe");
    place.wait_for_the_end();
}

/// Whoever gives up at the question for a password gets a terminal that shows what is typed.
#[test]
fn a_question_that_is_not_answered_leaves_the_terminal_as_it_was() {
    require!("an interrupted question"; Skiff);
    let place = Place::new("question");
    let skiff = program::skiff().expect("required").called("skiff");
    // A shell that stays.
    let script = format!(
        "trap : INT QUIT; {} registry login --username reader docker://localhost:1; \
         echo \"ended with $?\"; read line",
        skiff.display()
    );
    for (key, code) in [("\x03", "130"), ("\x1c", "131"), ("\x04", "255")] {
        let mut cmd = ordinary().command("/bin/bash");
        cmd.args(["-c", &script])
            .env("APPTAINER_CONFIGDIR", place.folder.join("apptainer-config"));
        let mut terminal = Terminal::start(&mut cmd).expect("a terminal");
        terminal.until("Password / Token: ").expect("the question");
        assert!(!terminal.echoes().expect("a terminal"));
        terminal.send(key).expect("a keyboard");
        terminal
            .until(&format!("ended with {code}"))
            .expect("the end");
        assert!(terminal.echoes().expect("a terminal"), "{key:?}");
        terminal.send("\n").expect("a keyboard");
        terminal.end().expect("an end");
    }
}

/// So it is when somebody else ends it, and at once.
#[test]
fn a_question_that_is_ended_from_elsewhere_leaves_the_terminal_as_it_was() {
    require!("a question ended by a signal"; Skiff);
    let place = Place::new("question-ended");
    let skiff = program::skiff().expect("required").called("skiff");
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        // Without job control what runs in the background reads nothing unless it is told where from.
        let script = format!(
            "{} registry login --username reader docker://localhost:1 < /dev/tty & \
             asked=$!; read go < {}; kill -{signal} $asked; wait $asked; echo \"ended with $?\"; read line",
            skiff.display(),
            place.folder.join("go").display(),
        );
        let go = place.folder.join("go");
        std::fs::remove_file(&go).ok();
        let made = Cmd::new("/usr/bin/mkfifo")
            .arg("-m")
            .arg("666")
            .arg(&go)
            .run();
        made.expect_success("mkfifo");
        let mut cmd = ordinary().command("/bin/bash");
        cmd.args(["-c", &script])
            .env("APPTAINER_CONFIGDIR", place.folder.join("apptainer-config"));
        let mut terminal = Terminal::start(&mut cmd).expect("a terminal");
        terminal.until("Password / Token: ").expect("the question");
        assert!(!terminal.echoes().expect("a terminal"));
        std::fs::write(&go, "now\n").expect("somebody reads");
        terminal
            .until(&format!("ended with {code}"))
            .expect("the end");
        assert!(terminal.echoes().expect("a terminal"), "{signal}");
        terminal.send("\n").expect("a keyboard");
        terminal.end().expect("an end");
    }
}

fn json(cmd: &mut Cmd) -> Value {
    let outcome = cmd.run().expect_success("figures");
    serde_json::from_str(&outcome.stdout_text()).expect("JSON")
}

#[test]
fn the_cache_is_looked_after() {
    require!("cache and stats"; Skiff, Apptainer, Fuse, UserNamespaces, Registry);
    let place = Place::new("care");
    let registry = daemon::registry(&place.folder.join("registry"), Access::Open);
    let name = push(&place, &registry, Access::Open);
    let run = |args: &[&str]| {
        let outcome = skiff(&place, args).run();
        (outcome.code(), outcome.stdout_text(), outcome.stderr_text())
    };
    // Where there is nothing yet all is well, and nothing comes into being by looking.
    assert_eq!(run(&["cache", "verify"]).0, Some(0));
    assert_eq!(run(&["stats", "--all", "--prometheus"]).1, "");
    assert!(!place.cache().exists());

    // The server stays for as long as the program does.
    let mut cmd = skiff(&place, &["exec", &name, "sh", "-c", "echo here; read line"]);
    let mut terminal = Terminal::start(&mut cmd).expect("a terminal");
    terminal.until("here").expect("the program");
    let stats = json(&mut skiff(&place, &["stats", &name, "--json"]));
    assert_eq!(stats["image"], name.as_str());
    assert!(stats["server"]["requests"].as_u64() > Some(0), "{stats}");
    assert!(
        stats["server"]["cache"]["hits"].as_u64() > Some(0),
        "{stats}"
    );
    let cached = stats["cache"]["cached"].as_u64().expect("a number");
    assert!(
        cached > 0 && Some(cached) <= stats["size"].as_u64(),
        "{stats}"
    );
    let all = json(&mut skiff(&place, &["stats", "--all", "--json"]));
    assert_eq!(all[0]["id"], stats["id"]);
    assert!(all[0]["server"].is_object());
    let (_, exposition, _) = run(&["stats", "--all", "--prometheus"]);
    let up = format!("skiff_server_up{{image=\"{name}\",id=");
    assert!(
        exposition
            .lines()
            .any(|line| line.starts_with(&up) && line.ends_with(" 1")),
        "{exposition}"
    );
    terminal.send("\n").expect("a keyboard");
    assert_eq!(terminal.end().expect("an end"), 0);
    place.wait_for_the_end();
    let stats = json(&mut skiff(&place, &["stats", &name, "--json"]));
    assert!(stats["server"].is_null() && stats["cache"].is_object());

    // Pinned, it outlasts the clean-up; by the start of its id it is the same one.
    let id = stats["id"].as_str().expect("an id").to_owned();
    assert_eq!(run(&["cache", "pin", &name]).0, Some(0));
    let (code, _, text) = run(&["cache", "clean", "--force"]);
    assert!(
        code == Some(0) && text.contains("Keeping pinned oras cache entry"),
        "{text}"
    );
    assert_eq!(run(&["cache", "gc", "--down-to", "0"]).0, Some(0));
    let list = json(&mut skiff(&place, &["cache", "list", "--json"]));
    let entry = &list["entries"][0];
    assert_eq!(
        (&entry["id"], &entry["pinned"]),
        (&stats["id"], &true.into())
    );
    assert_eq!(entry["cached"].as_u64(), stats["cache"]["cached"].as_u64());
    assert_eq!(run(&["cache", "unpin", &id[..10]]).0, Some(0));

    // Damage is found, dropped, and gone the next time.
    let (code, text, _) = run(&["cache", "verify", &name]);
    assert!(code == Some(0) && text.contains(" good"), "{text}");
    damage(&place.cache().join("blobs").join(format!("{id}.data")));
    let (code, text, _) = run(&["cache", "verify"]);
    assert!(
        code == Some(1) && text.contains("damaged and dropped"),
        "{text}"
    );
    assert_eq!(run(&["cache", "verify"]).0, Some(0));
    skiff(&place, &["exec", &name, "true"])
        .run()
        .expect_success("the damaged part comes again");
    place.wait_for_the_end();

    let (code, _, text) = run(&["cache", "clean", "--force", "--type", "net"]);
    assert!(
        code == Some(0) && text.contains("No cached files"),
        "{text}"
    );
    let (code, _, text) = run(&["cache", "clean", "--force", "--type", "oras"]);
    assert!(
        code == Some(0) && text.contains("Removing oras cache entry"),
        "{text}"
    );
    let (_, text, _) = run(&["cache", "list"]);
    assert!(text.starts_with("There are 0 container file(s)"), "{text}");
}

/// Flips a bit of the start, which every reader of an image needs.
fn damage(data: &Path) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(data)
        .expect("the entry's data");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100).expect("a start");
    file.write_all_at(&[byte[0] ^ 1], 100).expect("room");
}
