//! `skiff demo`: from nothing but this host to a program that runs from an image, in half a minute.
//!
//! ```text
//! userland + generated data ──pack──► demo.sif ──exec──► program ──► what was read of how much
//!                                        └─ web server ──exec──► program ──► what was fetched
//! ```
//!
//! Everything lies in one temporary directory, which is gone at the end, also after Ctrl-C.

mod data;
mod library;
mod pack;
mod start;
mod sys;
mod tree;
mod userland;
mod web;

use super::doctor::{self, Verdict};
use crate::exit::ExitStatus;
use crate::output;
use anyhow::{Context, Result, bail};
use start::Start;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tree::{Entry, PackTree};
use userland::Userland;
use web::Web;

/// Options of `skiff demo`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Keep the image, at PATH if given, and print where it is
    #[arg(long, value_name = "PATH", require_equals = true)]
    pub keep: Option<Option<PathBuf>>,
}

/// Generated files: together 220 MiB, of which the program reads a part of one.
const DATA_SETS: u64 = 22;
const DATA_SET_BYTES: u64 = 10 << 20;

/// Room for the file system and the image around it while both exist.
const ROOM_BYTES: u64 = 500 << 20;

/// What a process that was ended by Ctrl-C leaves as its exit code.
const INTERRUPTED: u8 = 130;

/// Packs, runs, measures, cleans up.
///
/// # Errors
/// Whatever keeps the image from being made or the program from running.
pub fn run(args: &DemoArgs) -> Result<ExitStatus> {
    if let Some(Some(path)) = &args.keep {
        refuse_existing(path)?;
    }
    let checks = doctor::examine();
    if !doctor::can_run(&checks) {
        let missing: Vec<_> = checks
            .into_iter()
            .filter(|check| check.verdict == Verdict::Fail)
            .collect();
        say(&format!(
            "Containers cannot run on this host yet:\n\n{}",
            doctor::render(&missing)
        ))?;
        say("`skiff doctor` shows all of it.\n")?;
        return Ok(ExitStatus::Code(1));
    }
    sys::catch_interrupts();
    let dir = tempfile::Builder::new()
        .prefix("skiff-demo-")
        .tempdir_in(roomy_directory()?)
        .context("making a temporary directory")?;
    let outcome = show(dir.path());
    if sys::interrupted() {
        // What failed then failed because of that.
        dir.close().context("cleaning up")?;
        say("\nInterrupted; everything is cleaned up.\n")?;
        return Ok(ExitStatus::Code(INTERRUPTED));
    }
    let image = outcome?;
    let (name, word) = match &args.keep {
        None => {
            dir.close().context("cleaning up")?;
            (
                "IMAGE.sif".to_owned(),
                "\nCleaned up: nothing is left of the image.\n".to_owned(),
            )
        }
        Some(None) => {
            let name = image.display().to_string();
            let kept = dir.keep();
            let word = format!(
                "\nKept: {name}   (remove {} when you are done)\n",
                kept.display()
            );
            (name, word)
        }
        Some(Some(path)) => {
            move_file(&image, path)?;
            dir.close().context("cleaning up")?;
            (
                path.display().to_string(),
                format!("\nKept: {}\n", path.display()),
            )
        }
    };
    say(&word)?;
    say(&next_commands(&name, args.keep.is_some()))?;
    Ok(ExitStatus::Success)
}

/// Renames, or copies where that would cross file systems. Never over something else.
fn move_file(from: &Path, to: &Path) -> Result<()> {
    refuse_existing(to)?;
    if fs::rename(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("copying the image to {}", to.display()))?;
    }
    Ok(())
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!("{} exists already", path.display());
    }
    Ok(())
}

/// The part that may fail or be interrupted half-way; returns the image.
fn show(dir: &Path) -> Result<PathBuf> {
    let mut tree = PackTree::default();
    let userland = userland::collect(&mut tree).context("collecting programs of this host")?;
    add_data(&mut tree, &userland);
    say(&announcement(&userland, tree.total_len()))?;
    let started = Instant::now();
    let image = dir.join("demo.sif");
    pack::pack_sif(&tree, &image)?;
    let size = image.metadata().context("looking at the image")?.len();
    say(&format!(
        "packed into {} of SIF in {:.1} s: {}\n\n",
        mebibytes(size),
        started.elapsed().as_secs_f64(),
        image.display()
    ))?;

    let program = program(&userland);
    let first = Start::exec(&image, &program)?;
    say(&format!(
        "$ skiff exec demo.sif {}\n{}\n",
        program.join(" "),
        first.output
    ))?;
    let second = Start::exec(&image, &program)?;
    let empty = Start::exec(&image, &["true".to_owned()])?;
    if sys::interrupted() {
        bail!("interrupted");
    }
    say(&format!(
        "first start   {:>8}   the image was mounted for it\n\
         second start  {:>8}   it joined the mount\n\
         `true` alone  {:>8}\n",
        milliseconds(first.wall),
        milliseconds(second.wall),
        milliseconds(empty.wall),
    ))?;
    if let Some(read) = start::bytes_read(&image)? {
        let share = 100.0 * read as f64 / size.max(1) as f64;
        say(&format!(
            "read          {:>8}   of {}, {share:.1} %\n",
            mebibytes(read),
            mebibytes(size)
        ))?;
    }
    show_from_afar(&image, size, &program, &dir.join("cache"))?;
    Ok(image)
}

/// The same from a web server, with an empty cache.
fn show_from_afar(image: &Path, size: u64, program: &[String], cache: &Path) -> Result<()> {
    let web = Web::serve(image)?;
    say(&format!(
        "\nThe same from a web server, with an empty cache:\n\n$ skiff exec {} {}\n",
        web.url(),
        program.join(" ")
    ))?;
    let first = Start::exec_from(&web.url(), cache, program)?;
    let (fetched, requests) = web.settled();
    say(&format!("{}\n", first.output))?;
    let second = Start::exec_from(&web.url(), cache, program)?;
    if sys::interrupted() {
        bail!("interrupted");
    }
    let share = 100.0 * fetched as f64 / size.max(1) as f64;
    let more = match web.settled().0.saturating_sub(fetched) {
        0 => "nothing".to_owned(),
        bytes => mebibytes(bytes),
    };
    say(&format!(
        "first start   {:>8}   fetched {} of {}, {share:.1} %, in {requests} requests\n\
         second start  {:>8}   fetched {more}\n",
        milliseconds(first.wall),
        mebibytes(fetched),
        mebibytes(size),
        milliseconds(second.wall),
    ))?;
    // With --keep the image stays, and this does not. Its server may be using it for a moment more.
    fs::remove_dir_all(cache).unwrap_or_default();
    Ok(())
}

fn announcement(userland: &Userland, total: u64) -> String {
    let python = userland
        .python
        .as_ref()
        .map_or(String::new(), |version| format!(", Python {version}"));
    format!(
        "Packing {} programs of this host{python} and {DATA_SETS} generated data sets: {} in all\n",
        userland.programs,
        mebibytes(total)
    )
}

/// The program of the demonstration: reads the beginning of one data set.
const MEAN: &str = "\
import csv, itertools, statistics, sys

with open(sys.argv[1]) as file:
    rows = itertools.islice(csv.reader(file), 50000)
    values = [float(row[2]) for row in rows]
print('mean of %d values in %s: %.3f' % (len(values), sys.argv[1], statistics.fmean(values)))
";

const RUNSCRIPT: &str = "#!/bin/sh\necho \"Hello from inside of $SINGULARITY_NAME. These data sets are here:\"\nls /data\n";

/// What `skiff inspect` shows.
const LABELS: &str = concat!(
    "{\"org.label-schema.schema-version\": \"1.0\", \"made-by\": \"skiff demo ",
    env!("CARGO_PKG_VERSION"),
    "\"}\n"
);

fn add_data(tree: &mut PackTree, userland: &Userland) {
    for number in 0..DATA_SETS {
        let entry = Entry::Generated {
            seed: number,
            len: DATA_SET_BYTES,
        };
        tree.add(format!("data/set-{number:02}.csv"), entry);
    }
    if userland.python.is_some() {
        tree.add(
            "demo/mean.py",
            Entry::Text {
                bytes: MEAN.as_bytes().to_vec(),
                mode: 0o644,
            },
        );
    }
    let runscript = Entry::Text {
        bytes: RUNSCRIPT.as_bytes().to_vec(),
        mode: 0o755,
    };
    tree.add(".singularity.d/runscript", runscript);
    let labels = Entry::Text {
        bytes: LABELS.as_bytes().to_vec(),
        mode: 0o644,
    };
    tree.add(".singularity.d/labels.json", labels);
}

fn program(userland: &Userland) -> Vec<String> {
    let words: &[&str] = if userland.python.is_some() {
        &["python3", "/demo/mean.py", "/data/set-07.csv"]
    } else {
        &["sh", "-c", "head -n 50000 /data/set-07.csv | cksum"]
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn next_commands(image: &str, kept: bool) -> String {
    let mut lines = vec!["Try next:".to_owned()];
    if !kept {
        lines.push("  skiff demo --keep                 the same, and the image stays".to_owned());
    }
    lines.push(format!("  skiff run {image}"));
    lines.push(format!("  skiff shell {image}"));
    lines.push(format!("  skiff exec --bind /var/log:/mnt {image} ls /mnt"));
    lines.push(format!("  skiff inspect {image}"));
    lines
        .push("  skiff doctor                      what this host offers to containers".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

/// The first of the usual places with enough room.
fn roomy_directory() -> Result<PathBuf> {
    let places = [
        std::env::temp_dir(),
        PathBuf::from("/var/tmp"),
        PathBuf::from("/dev/shm"),
    ];
    let has_room = |dir: &&PathBuf| {
        rustix::fs::statvfs(dir.as_path())
            .is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= ROOM_BYTES)
    };
    places.iter().find(has_room).cloned().with_context(|| {
        format!(
            "no temporary directory has {} free: set TMPDIR",
            mebibytes(ROOM_BYTES)
        )
    })
}

fn mebibytes(bytes: u64) -> String {
    let mebi = bytes as f64 / f64::from(1 << 20);
    if mebi < 10.0 {
        format!("{mebi:.1} MiB")
    } else {
        format!("{mebi:.0} MiB")
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn say(text: &str) -> Result<()> {
    output::stdout(text).context("writing to standard output")
}
