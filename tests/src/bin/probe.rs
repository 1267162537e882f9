//! What tests run inside containers and on mounts, as another user or to be killed on its own:
//!
//! ```text
//! skiff-probe snapshot [-t] [-u] DIR        a tree as text (-t: no trusted.*, -u: as a user)
//! skiff-probe random WANTED SEEN ROUNDS     8 threads at random places
//! skiff-probe mapped WANTED SEEN            every page of every file, in any order
//! skiff-probe soak read|mmap|exec DIR SUMS SECONDS   over and over, compared with known digests
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use skiff_tests::program::hex;
use skiff_tests::reading::{mapped_reads, random_reads};
use skiff_tests::snapshot::{Without, digest, snapshot};
use skiff_tests::sys::{Mapping, drop_cache};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(text) => {
            // The reader may have gone.
            io::stdout().write_all(text.as_bytes()).ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            io::stderr()
                .write_all(format!("skiff-probe: {error}\n").as_bytes())
                .ok();
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> io::Result<String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["snapshot", flags @ .., root] => {
            let without = Without {
                trusted: flags.contains(&"-t"),
                unreadable: flags.contains(&"-u"),
            };
            let lines = snapshot(Path::new(root), without)?;
            Ok(lines.join("\n") + "\n")
        }
        ["random", wanted, seen, rounds] => {
            let rounds = rounds.parse().map_err(io::Error::other)?;
            let bytes = random_reads(Path::new(wanted), Path::new(seen), 8, rounds)?;
            Ok(format!("{bytes} bytes\n"))
        }
        ["mapped", wanted, seen] => {
            let files = mapped_reads(Path::new(wanted), Path::new(seen))?;
            Ok(format!("{files} files\n"))
        }
        ["soak", way, root, sums, seconds] => {
            let seconds = seconds.parse().map_err(io::Error::other)?;
            soak(
                way,
                Path::new(root),
                Path::new(sums),
                Duration::from_secs(seconds),
            )
        }
        _ => Err(io::Error::other("usage: see the head of its source")),
    }
}

/// Goes through the files of `sums` (`digest  path` lines) again and again, dropping what the
/// kernel has cached of each so that the server is asked every time.
fn soak(way: &str, root: &Path, sums: &Path, time: Duration) -> io::Result<String> {
    let list = std::fs::read_to_string(sums)?;
    let wanted: BTreeMap<&str, &str> = list
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, path)| (path, sum))
        .collect();
    let begin = Instant::now();
    let mut rounds = 0_u64;
    let mut checked = 0_u64;
    while begin.elapsed() < time {
        for (path, sum) in &wanted {
            let full = root.join(path);
            let seen = match way {
                "read" => digest(&full)?.0,
                "mmap" => hex(&Sha256::digest(
                    Mapping::of(&std::fs::File::open(&full)?)?.bytes(),
                )),
                "exec" => {
                    let outcome = std::process::Command::new(&full)
                        .arg("--version")
                        .output()?;
                    if !outcome.status.success() || outcome.stdout.is_empty() {
                        return Err(io::Error::other(format!("{path}: {outcome:?}")));
                    }
                    (*sum).to_owned()
                }
                _ => return Err(io::Error::other("no such way")),
            };
            if seen != **sum {
                return Err(io::Error::other(format!(
                    "{path}: wrong bytes in round {rounds}"
                )));
            }
            drop_cache(&std::fs::File::open(&full)?)?;
            checked += 1;
            if begin.elapsed() > time {
                break;
            }
        }
        rounds += 1;
    }
    Ok(format!("{rounds} rounds, {checked} files\n"))
}
