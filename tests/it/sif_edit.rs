//! Random changes to SIF files by real Apptainer and by skiff leave the same bytes, but for times and
//! random numbers; changes that are cut off, and changes at the same time, leave valid files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skiff_tests::program::{self, Program};
use skiff_tests::reading::Random;
use skiff_tests::require;
use skiff_tests::user::ordinary;

/// Sequences of changes, and changes in each.
const SEQUENCES: u64 = 4;
const CHANGES: u64 = 30;

/// Where a SIF's table lies, and how long its slots are.
const TABLE: usize = 4096;
const SLOT: usize = 585;
const SLOTS: usize = 48;

/// A script of random changes to `a.sif`.
fn changes(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut script = String::from("apptainer sif new a.sif\n");
    for _ in 0..CHANGES {
        let mut below = |limit: u64| random.below(limit);
        let line = match below(10) {
            0..=1 => format!("apptainer sif del {} a.sif", 1 + below(9)),
            2 => format!("apptainer sif setprim {} a.sif", 1 + below(9)),
            3..=5 => format!(
                "apptainer sif add a.sif {} --datatype 4 --partfs {} --parttype {} --partarch {}",
                ["one", "two"][usize::from(below(2) == 1)],
                1 + below(6),
                1 + below(4),
                1 + below(12),
            ),
            6 => format!(
                "apptainer sif add a.sif one --datatype 5 --signhash {} --signentity {:040x} --link {}",
                1 + below(5),
                below(u64::MAX),
                1 + below(5),
            ),
            7 => format!(
                "apptainer sif add a.sif two --datatype {} --groupid {} --filename name{}",
                10 + below(2),
                below(4),
                below(100),
            ),
            8 => format!(
                "apptainer sif add a.sif one --datatype 7 --alignment {}",
                1 + below(5000)
            ),
            _ => format!(
                "apptainer sif add a.sif two --datatype {} --link {}",
                1 + below(3),
                1 + below(12)
            ),
        };
        script.push_str(&line);
        script.push_str(" >/dev/null 2>&1; echo $?\n");
    }
    script
}

/// Exit codes, and the file without what differs from run to run.
fn made_by(program: &Program, script: &str, folder: &Path) -> (String, Vec<u8>) {
    let outcome = run(program, script, folder).expect_success("a script of changes");
    let mut bytes = std::fs::read(folder.join("a.sif")).expect("made");
    bytes[48..80].fill(0);
    for slot in 0..SLOTS {
        let at = TABLE + slot * SLOT;
        bytes[at + 41..at + 57].fill(0);
    }
    (outcome.stdout_text(), bytes)
}

fn run(program: &Program, script: &str, folder: &Path) -> skiff_tests::command::Outcome {
    ordinary()
        .command("/bin/bash")
        .cwd(folder)
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.folder.display()),
        )
        .args(["-c", script])
        .limit(Duration::from_secs(300))
        .run()
}

/// A folder of the ordinary user, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/tmp/skiff-sif-edit-{}-{number}",
            std::process::id()
        ));
        std::fs::create_dir(&path).expect("fresh");
        std::fs::write(path.join("one"), vec![1; 5000]).expect("ours");
        std::fs::write(path.join("two"), b"two\n").expect("ours");
        for owned in [path.clone(), path.join("one"), path.join("two")] {
            ordinary().own(&owned);
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it would only take room.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn random_changes_leave_apptainers_bytes() {
    require!("changes to SIF files"; Skiff, Apptainer);
    let apptainer = program::real_apptainer().expect("required");
    let skiff = program::skiff().expect("required");
    for seed in 0..SEQUENCES {
        let script = changes(seed);
        let (theirs, ours) = (Folder::new(), Folder::new());
        let (their_codes, their_bytes) = made_by(apptainer, &script, &theirs.0);
        let (our_codes, our_bytes) = made_by(skiff, &script, &ours.0);
        assert_eq!(our_codes, their_codes, "sequence {seed}:\n{script}");
        let first = our_bytes.iter().zip(&their_bytes).position(|(a, b)| a != b);
        assert_eq!(
            (our_bytes.len(), first),
            (their_bytes.len(), None),
            "sequence {seed}:\n{script}"
        );
    }
}

#[test]
fn changes_at_the_same_time_do_not_mix() {
    require!("changes to SIF files"; Skiff);
    let skiff = program::skiff().expect("required");
    let folder = Folder::new();
    let script = "
        apptainer sif new a.sif
        for i in $(seq 12); do
          apptainer sif add a.sif one --datatype 7 &
        done
        wait
        apptainer sif header a.sif | grep Free
        for i in $(seq 12); do apptainer sif dump $i a.sif | cmp - one || echo $i differs; done";
    let outcome = run(skiff, script, &folder.0).expect_success("twelve at once");
    assert_eq!(outcome.stdout_text(), "Descriptors Free:   36\n");
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    require!("changes to SIF files"; Skiff);
    let skiff = program::skiff().expect("required");
    let folder = Folder::new();
    let script = "
        apptainer sif new a.sif
        apptainer sif add a.sif one --datatype 7
        cp a.sif before
        head -c 3000000 /dev/zero >large
        (ulimit -f 1000; trap '' XFSZ; apptainer sif add a.sif large --datatype 4 --partfs 1 \\
          --parttype 2 --partarch 2) 2>&1 | head -1
        cmp before a.sif && echo same";
    let outcome = run(skiff, script, &folder.0);
    assert_eq!(
        outcome.stdout_text(),
        "Error for command \"add\": write: file too large\nsame\n",
        "{}",
        outcome.stderr_text()
    );
}
