//! Names that stop to be resolved while a program runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::command::Cmd;
use skiff_tests::require;
use skiff_tests::web::{Content, Place, Server, Setup, Site};

use super::{EARLY, LATE, Reader, Verdict, digests, judge, patient, scaled};
use crate::remote::python_sif;

/// Where the program looks names up: `/etc/hosts` of its own, and a name server that is not there.
struct Names {
    hosts: PathBuf,
    resolver: PathBuf,
}

impl Names {
    fn new(place: &Place) -> Self {
        let names = Self {
            hosts: place.folder.join("hosts"),
            resolver: place.folder.join("resolv.conf"),
        };
        let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        std::fs::write(&names.resolver, resolver).expect("room");
        names.say("");
        names
    }

    /// In place: the file is mounted.
    fn say(&self, text: &str) {
        std::fs::write(&self.hosts, format!("127.0.0.1 localhost\n{text}")).expect("room");
    }

    /// `cmd` with these in place of the machine's.
    fn given_to(&self, cmd: Cmd) -> Cmd {
        let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && \
            shift 2 && exec \"$@\"";
        let words = [
            "/usr/bin/unshare",
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            script,
            "sh",
        ];
        let words = words.iter().map(OsStr::new);
        let files = [&self.hosts, &self.resolver].map(|path: &PathBuf| Path::as_os_str(path));
        cmd.behind(&words.chain(files).collect::<Vec<_>>())
    }
}

#[test]
fn a_name_that_is_lost_and_found() {
    require!("names that are lost"; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    let place = Place::new("names");
    let files: Vec<_> = EARLY.iter().chain(LATE).copied().collect();
    let wanted = digests(&place, python_sif().to_str().expect("plain"), &files);
    let setup = Setup {
        name: "skiff-names.test".to_owned(),
        ..Setup::default()
    };
    let content = Content::file(&python_sif()).expect("there");
    let server = Server::with(setup, Site::with("/a.sif", content));
    let url = server.url("/a.sif");
    let names = Names::new(&place);
    let known = "127.0.0.1 skiff-names.test\n";
    for back in [true, false] {
        place.wait_for_the_end();
        std::fs::remove_dir_all(place.cache()).ok();
        names.say(known);
        let reader = Reader::start(names.given_to(patient(place.skiff(&["exec", &url]))));
        names.say("");
        // Connections that are open need no name.
        server.go();
        server.come_back();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(scaled(30, 2));
                names.say(if back { known } else { "" });
            });
            reader.go_on()
        });
        let verdict = judge(&outcome, &wanted, "a lost name");
        match (back, verdict) {
            (true, Verdict::Right) => {}
            (false, Verdict::Failed(line)) => {
                assert!(line.contains("cannot be resolved"), "{line}");
            }
            (_, verdict) => panic!("back: {back}, {verdict:?}"),
        }
    }
    place.wait_for_the_end();
    let log = place.log();
    assert!(log.contains("cannot be resolved"), "{log}");
    drop(server);
    // Nothing of it is left when the last process is gone.
    std::thread::sleep(Duration::from_millis(10));
}
