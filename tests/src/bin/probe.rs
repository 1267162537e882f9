//! What tests run inside containers and on mounts, as another user or to be killed on its own:
//!
//! ```text
//! skiff-probe snapshot [-t] [-u] DIR        a tree as text (-t: no trusted.*, -u: as a user)
//! skiff-probe random WANTED SEEN ROUNDS     8 threads at random places
//! skiff-probe mapped WANTED SEEN            every page of every file, in any order
//! skiff-probe walk DIR                      reads all that can be read, errors or not
//! skiff-probe peak COMMAND...               runs it; last line of stderr: its peak memory in KiB
//! skiff-probe soak read|mmap|exec DIR SUMS STOP      until file STOP is there, compared with digests
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
use skiff_tests::sys::{Mapping, children_peak, drop_cache};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("peak", command)) = args
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return peak(command);
    }
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
        ["walk", root] => Ok(walk(Path::new(root))),
        ["soak", way, root, sums, stop] => {
            soak(way, Path::new(root), Path::new(sums), Path::new(stop))
        }
        _ => Err(io::Error::other("usage: see the head of its source")),
    }
}

/// Runs a command and tells the largest memory that it or a process it waited for had; ends as it
/// did, by signal as 128 + n.
fn peak(command: &[String]) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let Some((program, args)) = command.split_first() else {
        return ExitCode::FAILURE;
    };
    let status = std::process::Command::new(program).args(args).status();
    let code = status.map_or(126, |status| {
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(125)
    });
    let line = format!("\npeak {}\n", children_peak());
    io::stderr().write_all(line.as_bytes()).ok();
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}

/// Looks at everything below `root`; what fails is counted. Directories are entered to a depth that
/// no honest image has, since a damaged one may seem endless.
fn walk(root: &Path) -> String {
    let (mut good, mut bad) = (0_u64, 0_u64);
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            bad += 1;
            continue;
        };
        // Enough of a directory that never ends.
        for entry in entries.take(5_000) {
            let Ok(path) = entry.map(|entry| entry.path()) else {
                bad += 1;
                break;
            };
            let well = match path.symlink_metadata() {
                Err(_) => false,
                Ok(meta) if meta.is_dir() => {
                    if depth < 20 && good + bad < 50_000 {
                        folders.push((path, depth + 1));
                    }
                    true
                }
                Ok(meta) if meta.is_symlink() => std::fs::read_link(&path).is_ok(),
                Ok(meta) if meta.is_file() => read_some(&path, meta.len()).is_ok(),
                Ok(_) => true,
            };
            if well { good += 1 } else { bad += 1 }
        }
    }
    format!("{good} good, {bad} bad\n")
}

/// The head and the end of a file; all of it when it is small.
fn read_some(path: &Path, size: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    file.read_at(&mut buffer, 0)?;
    if size > 1 << 20 {
        file.read_at(&mut buffer, size - (1 << 20))?;
    }
    Ok(())
}

/// Whoever should have made the file that ends [`soak`] died long ago.
const SOAK_LIMIT: Duration = Duration::from_secs(300);

/// Goes through the files of `sums` (`digest  path` lines) again and again, dropping what the
/// kernel has cached of each so that the server is asked every time.
fn soak(way: &str, root: &Path, sums: &Path, stop: &Path) -> io::Result<String> {
    let list = std::fs::read_to_string(sums)?;
    let wanted: BTreeMap<&str, &str> = list
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, path)| (path, sum))
        .collect();
    // Whoever waits for that knows by it that the launch is done.
    std::fs::write(stop.with_extension(std::process::id().to_string()), "")?;
    let begin = Instant::now();
    let mut rounds = 0_u64;
    let mut checked = 0_u64;
    while !stop.exists() && begin.elapsed() < SOAK_LIMIT {
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
            if stop.exists() || begin.elapsed() > SOAK_LIMIT {
                break;
            }
        }
        rounds += 1;
    }
    Ok(format!("{rounds} rounds, {checked} files\n"))
}
