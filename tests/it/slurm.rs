//! The example prologue and epilogue in contrib/slurm, run as Slurm runs them: its variables and no
//! others, no search path, as root and as the job's user. Here `skiff` is a stand-in that writes down
//! how it was called: who asks for what with whose rights is the scripts' part. With the real one
//! and a web server: [`whole`].

mod whole;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::command::{Cmd, Outcome};
use skiff_tests::require;
use skiff_tests::require::is_root;
use skiff_tests::user::ordinary;

/// Of the account that owns the shared cache; it need not have a name.
const SERVICE: &str = "daemon";

/// Writes a line per call, and hangs where a file says so.
const STAND_IN: &str = "#!/bin/bash\n\
    { printf '%s|' \"$(id -u)\" \"${SKIFF_CACHE_DIR-}\" \"$@\"; echo; } >>\"${0%/*}/calls\"\n\
    [ ! -e \"${0%/*}/hang\" ] || sleep 60\n\
    exit 1\n";

/// A node: settings, a list of images, a shared cache, and what was called.
struct Node {
    folder: folder::Folder,
}

/// A folder that everybody may enter, gone with the value.
mod folder {
    use super::{Path, PathBuf, PermissionsExt};
    use std::sync::atomic::{AtomicU32, Ordering};

    pub(super) struct Folder(PathBuf);

    impl Folder {
        pub(super) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = format!("skiff-slurm-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(path);
            std::fs::create_dir(&path).expect("a new folder");
            open_to_all(&path);
            Self(path)
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What is left is in the way of nobody.
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    pub(super) fn open_to_all(path: &Path) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../contrib/slurm")
        .join(name)
}

/// Copies a script by another process: one that this process wrote could not be run while a child
/// that another test just forked still has it open.
fn install(from: &Path, to: &Path) {
    let mut cmd = Cmd::new("/usr/bin/install");
    cmd.args(["-m", "755"]).arg(from).arg(to);
    cmd.run().expect_success("install");
}

impl Node {
    fn new(shared: bool, deadline: u32) -> Self {
        let folder = folder::Folder::new();
        let at = |name: &str| folder.path().join(name);
        for name in ["prolog.sh", "epilog.sh", "common.sh"] {
            // A checkout may lie where ordinary users cannot look.
            install(&script(name), &at(name));
        }
        std::fs::write(at("stand-in"), STAND_IN).expect("room");
        install(&at("stand-in"), &at("skiff"));
        std::fs::write(at("calls"), "").expect("room");
        std::fs::set_permissions(at("calls"), std::fs::Permissions::from_mode(0o666))
            .expect("ours");
        let list =
            "# for every job\nhttps://site/base.sif\n--full\n\noras://site/lab:1   # the lab\n";
        std::fs::write(at("list"), list).expect("room");
        let here = folder.path().display();
        let settings = format!(
            "SKIFF={here}/skiff\nWARM_LIST={here}/list\nWARM_DEADLINE={deadline}\n\
             SHARED_CACHE={here}/shared\nUSER_CACHE=/var/tmp/of-jobs\nSTATE={here}/state\n\
             LOG={here}/log\n"
        );
        std::fs::write(at("conf"), settings).expect("room");
        if shared {
            std::fs::create_dir(at("shared")).expect("room");
            folder::open_to_all(&at("shared"));
            chown(at("shared"), Some(service()), None).expect("root");
        }
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As slurmd runs it for a job of the ordinary user.
    fn slurmd(&self, name: &str, job: &str, comment: &str) -> Outcome {
        let mut cmd = Cmd::new(self.at(name));
        cmd.env("SLURM_JOB_USER", &ordinary().name);
        cmd.env("SLURM_JOB_UID", ordinary().uid.to_string());
        cmd.env("SLURM_JOB_GID", ordinary().gid.to_string());
        self.with(&mut cmd, job, comment)
    }

    /// As slurmstepd runs it: the user himself, with his environment.
    fn task(&self, name: &str, job: &str, wanted: &str) -> Outcome {
        let mut cmd = ordinary().command(self.at(name));
        cmd.env("SKIFF_WARM", wanted);
        self.with(&mut cmd, job, "")
    }

    fn with(&self, cmd: &mut Cmd, job: &str, comment: &str) -> Outcome {
        cmd.env("SKIFF_SLURM_CONF", self.at("conf"));
        cmd.env("SLURM_JOB_ID", job);
        cmd.env("SLURM_JOB_COMMENT", comment);
        let outcome = cmd.run();
        // A prologue that fails drains the node, and what a task's prologue prints is obeyed.
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        assert!(outcome.stdout.is_empty(), "{outcome}");
        outcome
    }

    /// The calls since the last time, sorted: some are made at once.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.at("calls")).expect("it is there");
        std::fs::write(self.at("calls"), "").expect("room");
        let mut calls: Vec<_> = text.lines().map(str::to_owned).collect();
        calls.sort();
        calls
    }
}

fn service() -> u32 {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    let line = passwd
        .lines()
        .find(|line| line.starts_with(&format!("{SERVICE}:")));
    let uid = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    uid.unwrap_or_else(|| panic!("no user {SERVICE}"))
}

/// The site's images go to the shared cache by its owner's rights, the job's to the user's own.
#[test]
fn each_image_is_fetched_with_the_rights_of_whoever_named_it() {
    require!("slurm prologue as root"; Root);
    let node = Node::new(true, 5);
    node.slurmd(
        "prolog.sh",
        "7",
        "queue=a; skiff-warm=https://u/a.sif warm:oras://u/b:1",
    );
    let (shared, user) = (node.at("shared"), ordinary().uid);
    let mut expected = [
        format!(
            "{}|{}|warm|--deadline=5s|--max-bytes=20G|--|https://site/base.sif|oras://site/lab:1|",
            service(),
            shared.display()
        ),
        format!(
            "{user}|/var/tmp/of-jobs|warm|--deadline=5s|--max-bytes=20G|--pin|--|https://u/a.sif|\
             oras://u/b:1|"
        ),
    ];
    expected.sort();
    assert_eq!(node.calls(), expected);
}

/// Without a shared cache everything is the user's.
#[test]
fn without_a_shared_cache_the_user_gets_all() {
    require!("slurm prologue without shared cache"; Root);
    let node = Node::new(false, 5);
    node.slurmd("prolog.sh", "7", "");
    let calls = node.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].starts_with(&format!("{}|/var/tmp/of-jobs|warm|", ordinary().uid)));
    assert!(calls[0].ends_with("|--|https://site/base.sif|oras://site/lab:1|"));
}

/// A comment is the user's, and root reads it: nothing in it is a flag, a pattern or a command.
#[test]
fn comments_are_only_names() {
    require!("hostile comments"; Root);
    let node = Node::new(true, 5);
    let trap = node.at("trap");
    let comment = format!(
        "skiff-warm=--full,-x,/etc/*,$(touch${{IFS}}{0}),`touch {0}`;skiff-warm=a|b",
        trap.display()
    );
    node.slurmd("prolog.sh", "7", &comment);
    assert!(!trap.exists());
    let calls = node.calls();
    let own = calls
        .iter()
        .find(|call| call.starts_with(&format!("{}|", ordinary().uid)))
        .expect("a call for the user");
    let names = own.split("|--|").nth(1).expect("names");
    assert!(names.starts_with("/etc/*|$(touch${IFS}"), "{own}");
    assert!(!names.split('|').any(|name| name.starts_with('-')), "{own}");
    // What is no job and no user has nothing done for it as such.
    node.slurmd("prolog.sh", "../../7", "skiff-warm=a");
    assert!(node.calls().iter().all(|call| !call.contains("--pin")));
}

/// What two jobs of a user pinned stays pinned until the second ends.
#[test]
fn the_last_job_unpins() {
    require!("slurm epilogue"; Root);
    let node = Node::new(false, 5);
    std::fs::write(node.at("list"), "").expect("room");
    node.slurmd(
        "prolog.sh",
        "1",
        "skiff-warm=https://u/a.sif,https://u/b.sif,https://u/c.sif",
    );
    node.slurmd("prolog.sh", "2", "skiff-warm=https://u/a.sif");
    node.calls();
    let user = ordinary().uid;
    let gc = format!("{user}|/var/tmp/of-jobs|cache|gc|");
    let unpin = |name: &str| format!("{user}|/var/tmp/of-jobs|cache|unpin|--|{name}|");
    node.slurmd("epilog.sh", "1", "");
    // The stand-in fails each time, as for an image of which nothing is cached.
    let (b, c) = (unpin("https://u/b.sif"), unpin("https://u/c.sif"));
    assert_eq!(node.calls(), [gc.clone(), b, c]);
    node.slurmd("epilog.sh", "2", "");
    assert_eq!(node.calls(), [gc, unpin("https://u/a.sif")]);
    node.slurmd("epilog.sh", "2", "");
    assert!(node.calls().is_empty());
}

/// A fetch that hangs does not hold up the job, and does not outlive the prologue.
#[test]
fn time_is_kept() {
    require!("slurm prologue that hangs"; Root);
    let node = Node::new(true, 1);
    std::fs::write(node.at("hang"), "").expect("room");
    let outcome = node.slurmd("prolog.sh", "7", "skiff-warm=a");
    assert!(outcome.took < Duration::from_secs(40), "{:?}", outcome.took);
    assert_eq!(node.calls().len(), 2);
}

/// As a task's prologue: the user's rights, cache and environment, and no pins, which nobody would
/// take away.
#[test]
fn as_the_jobs_user() {
    let node = Node::new(false, 5);
    node.task("prolog.sh", "7", "https://u/a.sif, https://u/b.sif");
    let calls = node.calls();
    let user = ordinary().uid;
    assert_eq!(
        calls,
        [format!(
            "{user}||warm|--deadline=5s|--max-bytes=20G|--|https://site/base.sif|\
             oras://site/lab:1|https://u/a.sif|https://u/b.sif|"
        )]
    );
    node.task("epilog.sh", "7", "");
    assert!(node.calls().is_empty(), "root: {}", is_root());
}

/// A node without skiff, settings or variables runs its jobs all the same.
#[test]
fn missing_things_are_no_failure() {
    let node = Node::new(false, 5);
    let settings = std::fs::read_to_string(node.at("conf")).expect("it is there");
    let settings = settings.replace("/skiff\n", "/nothing-here\n");
    std::fs::write(node.at("conf"), settings).expect("room");
    for name in ["prolog.sh", "epilog.sh"] {
        node.task(name, "7", "https://u/a.sif");
        let outcome = Cmd::new(node.at(name))
            .env("SKIFF_SLURM_CONF", node.at("absent"))
            .run();
        assert_eq!(outcome.code(), Some(0), "{outcome}");
    }
    assert!(node.calls().is_empty());
}
