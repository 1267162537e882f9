//! Rules of the tree that no compiler checks.

use std::path::{Path, PathBuf};

const CRATES: &[&str] = &["cache", "fs", "launcher", "tools", "tests", "benches"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is a member of a workspace")
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = CRATES.iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the tree") {
            let path = entry.expect("a folder of the tree").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn report(rule: &str, offenders: &[String]) {
    assert!(
        offenders.is_empty(),
        "{rule}:\n  {}",
        offenders.join("\n  ")
    );
}

/// Crates depend in one direction only: tools on launcher and fs, fs on cache.
#[test]
fn dependencies_point_one_way() {
    let allowed = |from: &str, to: &str| {
        matches!(
            (from, to),
            ("tools", "skiff-launcher" | "skiff-fs" | "skiff-cache")
                | ("fs", "skiff-cache")
                | (
                    "benches" | "tests",
                    "skiff-fs" | "skiff-launcher" | "skiff-cache" | "skiff" | "skiff-tests"
                )
        )
    };
    let mut offenders = Vec::new();
    for name in CRATES {
        let manifest =
            std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a crate");
        for line in manifest.lines() {
            let dependency: String = line
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            let ours = dependency == "skiff" || dependency.starts_with("skiff-");
            if ours && line.contains("workspace") && !allowed(name, &dependency) {
                offenders.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    report(
        "dependencies that design and ARCHITECTURE.md rule out",
        &offenders,
    );
}

#[test]
fn modules_say_what_they_are_and_none_is_called_mod() {
    let mut offenders = Vec::new();
    for path in rust_files() {
        if path.ends_with("mod.rs") {
            offenders.push(format!("{} should be named after its noun", path.display()));
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        if !path.ends_with("tests.rs") && !text.lines().take(5).any(|line| line.starts_with("//!"))
        {
            offenders.push(format!(
                "{} does not say at its head what it is",
                path.display()
            ));
        }
    }
    report("module files", &offenders);
}

/// Unsafe code lives in files called sys.rs, each of which says what it wraps.
#[test]
fn unsafe_code_has_its_places() {
    let mut offenders = Vec::new();
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let unsafe_code = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            !code.contains('"')
                && ["unsafe {", "unsafe fn ", "unsafe impl ", "unsafe extern "]
                    .iter()
                    .any(|word| code.contains(word))
        });
        if unsafe_code && !path.ends_with("sys.rs") {
            offenders.push(format!("{} has unsafe code", path.display()));
        }
    }
    report("unsafe outside sys.rs", &offenders);
}

#[test]
fn source_files_stay_small() {
    let offenders: Vec<_> = rust_files()
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.starts_with(root().join("tests")))
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let lines = text
                .lines()
                .take_while(|line| !line.starts_with("#[cfg(test)]"))
                .count();
            (lines > 700).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    report("files that grew past one idea", &offenders);
}
