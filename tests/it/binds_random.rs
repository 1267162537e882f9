//! Random sets of binds given to real Apptainer and to skiff: the same is seen in the container, the
//! same is left on the host. Sets that Apptainer refuses are refused, in whatever words.
//!
//! `SKIFF_RANDOM_BINDS=FROM-TO` runs other sets than the fixed ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::image::{Images, images};
use skiff_tests::program::{self, Program};
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::user::ordinary;

/// How many sets are tried.
const SETS: u64 = 30;

const SOURCES: &[&str] = &[
    "data", "data", "data", "data/sub", "data/sub", "other", "other", "./other", "file.txt",
    "file.txt", "data/x", "home",
];

/// Places that the image has, lacks, reaches by links; places in each other.
const DESTINATIONS: &[&str] = &[
    "/data",
    "/data/x",
    "/data/sub",
    "/data/sub/y",
    "/data/missing",
    "/data/missing/deep",
    "/opt",
    "/opt/data.txt",
    "/opt/made",
    "/opt/link.txt",
    "/opt/abs.txt",
    "/opt/../opt/made2",
    "/opt/new/",
    "/usr/share",
    "/usr/share/made",
    "/new",
    "/new/a",
    "/new/a/b",
    "/etc/hosts",
    "/etc/passwd",
    "/etc/made",
    "/mnt",
    "/mnt/f",
    "/bin/made",
    "/var/made",
    "/root",
];

/// One set, and the image it is for.
#[derive(Clone, Debug)]
struct Set {
    binds: Vec<String>,
    /// Destinations, for the probe.
    places: Vec<&'static str>,
    sandbox: bool,
    writable_tmpfs: bool,
}

fn set(seed: u64) -> Set {
    let mut random = Random::new(seed);
    let mut pick = |list: &'static [&'static str]| {
        list[usize::try_from(random.below(list.len() as u64)).expect("small")]
    };
    let count = 1 + usize::from(pick(&["0", "1", "2", "3"]).as_bytes()[0] - b'0');
    let mut set = Set {
        binds: Vec::new(),
        places: Vec::new(),
        sandbox: pick(&["sif", "sandbox"]) == "sandbox",
        writable_tmpfs: pick(&["ro", "ro", "tmpfs"]) == "tmpfs",
    };
    for _ in 0..count {
        let place = pick(DESTINATIONS);
        let options = pick(&["", "", "", ":ro", ":rw"]);
        set.binds
            .push(format!("{}:{place}{options}", pick(SOURCES)));
        if !set.places.contains(&place) {
            set.places.push(place);
        }
    }
    set.places.sort_unstable();
    set
}

/// What one program made of a set.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    works: bool,
    shown: String,
    /// Only of sets that work: what is left by a failure is chance.
    host: Vec<String>,
}

fn run(set: &Set, folder: &Path, program: &Program, images: &Images) -> (Seen, String) {
    std::fs::create_dir(folder).expect("fresh");
    for name in ["data", "data/sub", "other", "home"] {
        std::fs::create_dir(folder.join(name)).expect("fresh");
    }
    for (name, text) in [
        ("data/x", "data\n"),
        ("data/sub/y", "deeper\n"),
        ("other/z", "other\n"),
        ("file.txt", "file\n"),
    ] {
        std::fs::write(folder.join(name), text).expect("ours");
    }
    let user = ordinary();
    user.own(folder);
    for path in tree(folder) {
        user.own(&path);
    }
    let before = tree(folder);
    let mut probe = String::from(
        "p() { if [ -d $1 ]; then echo D $1; ls -A $1; elif [ -e $1 ]; then echo F $1; head -c 40 $1; \
         else echo N $1; fi; }; ",
    );
    for place in &set.places {
        probe.push_str(&format!("p {place}; "));
    }
    let mut cmd = user.command(program.called("apptainer"));
    cmd.cwd(folder)
        .env("SKIFF_LINGER", "2")
        .arg("exec")
        .limit(Duration::from_secs(120));
    if set.writable_tmpfs {
        cmd.arg("--writable-tmpfs");
    }
    for bind in &set.binds {
        cmd.args(["-B", bind]);
    }
    let image = if set.sandbox {
        &images.sandbox
    } else {
        &images.sif
    };
    cmd.arg(image).args(["sh", "-c", &probe]);
    let outcome = cmd.run();
    let works = outcome.code() == Some(0);
    let host = tree(folder)
        .into_iter()
        .filter(|path| works && !before.contains(path))
        .filter_map(|path| Some(path.strip_prefix(folder).ok()?.display().to_string()))
        .collect();
    let seen = Seen {
        works,
        shown: outcome.stdout_text(),
        host,
    };
    (seen, outcome.stderr_text())
}

/// Everything below `folder`, sorted.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn same_as_apptainer() {
    require!("random binds"; Skiff, Apptainer, Fuse, UserNamespaces);
    let apptainer = program::real_apptainer().expect("required");
    let skiff = program::skiff().expect("required");
    let images = images(apptainer);
    let wanted = std::env::var("SKIFF_RANDOM_BINDS").ok();
    let range = wanted
        .as_deref()
        .and_then(|text| {
            let (from, to) = text.split_once('-')?;
            Some(from.parse().ok()?..to.parse().ok()?)
        })
        .unwrap_or(0..SETS);
    let mut differences = Vec::new();
    for seed in range {
        let set = set(seed);
        let base = PathBuf::from(format!("/tmp/skiff-binds-{}-{seed}", std::process::id()));
        std::fs::create_dir(&base).expect("fresh");
        ordinary().own(&base);
        let (theirs, their_words) = run(&set, &base.join("a"), apptainer, &images);
        let (ours, our_words) = run(&set, &base.join("s"), skiff, &images);
        std::fs::remove_dir_all(&base).ok();
        if theirs != ours {
            differences.push(format!(
                "{seed}: {set:?}\nApptainer {theirs:?}\n{their_words}\nskiff {ours:?}\n{our_words}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
