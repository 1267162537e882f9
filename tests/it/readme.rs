//! What README.md tells a newcomer to type works, for an ordinary user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::program;
use skiff_tests::require;
use skiff_tests::user::ordinary;

/// Lines of README.md in code blocks marked with `language`.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
        .join("README.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut inside = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(mark), None) => inside = Some(mark.trim() == language),
            (None, Some(true)) => lines.push(line.to_owned()),
            (None, _) => {}
        }
    }
    lines
}

/// The commands that need the source tree are steps of tests/run, and no others are.
#[test]
fn commands_in_the_source_tree_are_known() {
    let commands = blocks("console");
    assert_eq!(commands, ["$ cargo run --release -- demo", "$ ./tests/run"]);
}

/// Everything else, line by line in one shell, as a new user would.
#[test]
fn tour() {
    require!("README tour"; Skiff, Fuse, UserNamespaces, Fusermount);
    let user = ordinary();
    let folder = PathBuf::from(format!("/tmp/skiff-readme-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("target/release")).expect("fresh");
    user.own(&folder);
    let skiff = program::skiff().expect("required").called("skiff");
    std::os::unix::fs::symlink(skiff, folder.join("target/release/skiff")).expect("fresh");
    let lines: Vec<_> = blocks("sh")
        .into_iter()
        .filter(|line| line.trim() != "cargo build --release")
        .collect();
    assert!(lines.len() > 5, "the tour is gone from README.md");
    // doctor ends with an error where something does not work at all on this machine.
    let script = format!("set -euxo pipefail\n{}\n", lines.join("\n"));
    let outcome = user
        .command("/bin/bash")
        .cwd(&folder)
        .args(["-c", &script])
        .limit(Duration::from_secs(300))
        .run();
    // The server of a moment ago may still look into the folder.
    std::fs::remove_dir_all(&folder).ok();
    outcome.expect_success("the tour of README.md");
}
