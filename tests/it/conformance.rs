//! The same command lines given to real Apptainer 1.4.5 and to skiff called `apptainer`.
//!
//! Each case of `tests/cases/*.toml` is a shell script run by the ordinary user in a folder of its
//! own; what it wrote, its exit code and the files it left are compared with what the case says,
//! which was recorded from real Apptainer (or, for live ones, is taken from it at once):
//!
//! ```text
//! SKIFF_CONFORMANCE_RECORD=1 cargo test -p skiff-tests --test it conformance::apptainer
//! ```
//!
//! `conformance::apptainer_*` proves the table right, `conformance::skiff_*` proves skiff right.
//! `SKIFF_CONFORMANCE_CASE=word` picks the cases whose names contain the word.

mod case;
mod keys;
mod normal;
mod run;

use std::path::PathBuf;

use skiff_tests::image::images;
use skiff_tests::program::{self, Program};
use skiff_tests::require;

use case::{Case, read, record};
use run::{Difference, judge, observe};

/// The files of cases, each a test of its own for either program.
macro_rules! tables {
    ($($name:literal: $apptainer:ident, $skiff:ident;)+) => {
        const TABLES: &[&str] = &[$($name),+];
        $(
            #[test]
            fn $apptainer() {
                require!(concat!("cases of ", $name, " on Apptainer"); Apptainer, Fuse, UserNamespaces);
                with_apptainer($name);
            }
            #[test]
            fn $skiff() {
                require!(concat!("cases of ", $name, " on skiff"); Skiff, Apptainer, Fuse, UserNamespaces);
                with_skiff($name);
            }
        )+
    };
}

tables! {
    "build": apptainer_build, skiff_build;
    "exec": apptainer_exec, skiff_exec;
    "binds": apptainer_binds, skiff_binds;
    "folders": apptainer_folders, skiff_folders;
    "environment": apptainer_environment, skiff_environment;
    "images": apptainer_images, skiff_images;
    "isolation": apptainer_isolation, skiff_isolation;
    "limits": apptainer_limits, skiff_limits;
    "identity": apptainer_identity, skiff_identity;
    "inspect": apptainer_inspect, skiff_inspect;
    "instance": apptainer_instance, skiff_instance;
    "config": apptainer_config, skiff_config;
    "variables": apptainer_variables, skiff_variables;
    "admin": apptainer_admin, skiff_admin;
    "cache": apptainer_cache, skiff_cache;
    "registry": apptainer_registry, skiff_registry;
    "gpu": apptainer_gpu, skiff_gpu;
    "encrypted": apptainer_encrypted, skiff_encrypted;
    "sif_edit": apptainer_sif_edit, skiff_sif_edit;
    "overlay": apptainer_overlay, skiff_overlay;
    "definition": apptainer_definition, skiff_definition;
    "signing": apptainer_signing, skiff_signing;
    "services": apptainer_services, skiff_services;
}

fn path_of(table: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("cases")
        .join(format!("{table}.toml"))
}

fn with_apptainer(table: &str) {
    let apptainer = program::real_apptainer().expect("required");
    if std::env::var_os("SKIFF_CONFORMANCE_RECORD").is_some() {
        let path = path_of(table);
        let mut cases = read(&path);
        let observed = run_all(&cases, apptainer);
        for (case, observed) in cases.iter_mut().zip(observed) {
            if let Some(observed) = observed.filter(|_| !case.live) {
                case.take(observed);
            }
        }
        record(&path, &cases);
        return;
    }
    compare(table, apptainer);
}

fn with_skiff(table: &str) {
    compare(table, program::skiff().expect("required"));
}

/// Runs the chosen cases, two at a time: most of their time is waiting.
fn run_all(cases: &[Case], program: &Program) -> Vec<Option<case::Observed>> {
    let images = images(program::real_apptainer().expect("required"));
    let wanted = std::env::var("SKIFF_CONFORMANCE_CASE").unwrap_or_default();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results: Vec<_> = cases.iter().map(|_| std::sync::Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    if !case.name.contains(&wanted) {
                        continue;
                    }
                    let observed = observe(case, program, &images);
                    *results[index].lock().expect("no panic while held") = Some(observed);
                }
            });
        }
    });
    results
        .into_iter()
        .map(|cell| cell.into_inner().expect("no panic while held"))
        .collect()
}

fn compare(table: &str, program: &Program) {
    let mut cases = read(&path_of(table));
    let live: Vec<_> = cases.iter().filter(|case| case.live).cloned().collect();
    let apptainer = program::real_apptainer().expect("required");
    for (case, observed) in live.iter().zip(run_all(&live, apptainer)) {
        let place = cases.iter_mut().find(|other| other.name == case.name);
        if let (Some(place), Some(observed)) = (place, observed) {
            place.take(observed);
        }
    }
    let observed = run_all(&cases, program);
    let differences: Vec<Difference> = cases
        .iter()
        .zip(&observed)
        .filter_map(|(case, observed)| {
            observed
                .as_ref()
                .and_then(|seen| judge(case, seen, program))
        })
        .collect();
    let ran = observed.iter().flatten().count();
    assert!(
        differences.is_empty(),
        "{} of {ran} cases of {table} differ on {}:\n\n{}",
        differences.len(),
        program.title,
        differences
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

/// Every file of cases is run, names are unique, and there are enough of them to mean something.
#[test]
fn the_table_is_whole() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the cases")
        .map(|entry| {
            entry
                .expect("a file")
                .path()
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
        })
        .collect::<Option<_>>()
        .expect("files have names");
    files.sort();
    let mut tables: Vec<_> = TABLES.iter().map(|table| (*table).to_owned()).collect();
    tables.sort();
    assert_eq!(files, tables);
    let mut names: Vec<_> = TABLES
        .iter()
        .flat_map(|table| read(&path_of(table)))
        .map(|case| {
            assert!(
                case.live || case.code.is_some(),
                "{} was never recorded",
                case.name
            );
            case.name
        })
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "names of cases repeat");
    assert!(all >= 80, "only {all} cases");
}
