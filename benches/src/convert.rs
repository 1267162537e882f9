//! OCI images to SIFs: how long it takes, what it costs, and what it writes.
//!
//! The images are made of this machine's own /usr, so that content and sizes are real.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use skiff_tests::oci::{OciImage, Packing};

use crate::actor::Actor;
use crate::machine::{self, Machine};
use crate::{interrupt, locate, procs};

/// Largest acceptable quotients of skiff's figures to Apptainer's.
const TARGET_WALL: f64 = 0.25;
const TARGET_CPU: f64 = 0.5;
const TARGET_SIZE: f64 = 1.0;

/// Largest acceptable quotient of bytes written to the size of the result.
const TARGET_WRITTEN: f64 = 1.1;

/// Options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct ConvertArgs {
    /// Uncompressed size of the image with one layer, in MiB
    #[arg(long, default_value_t = 3072)]
    pub megabytes: u64,
    /// Rounds
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    /// Only these images
    #[arg(long, value_delimiter = ',', default_values_t = ["single", "twelve"].map(String::from))]
    pub only: Vec<String>,
    /// Binary to measure [default: the one beside this program]
    #[arg(long)]
    pub skiff: Option<PathBuf>,
    /// Ordinary user to measure with
    #[arg(long)]
    pub user: Option<String>,
    /// Directory for images and results, on a disk; what lies there is used again and kept
    #[arg(long)]
    pub work: Option<PathBuf>,
    /// Where the JSON goes
    #[arg(long, default_value = "benches/results/convert.json")]
    pub json: PathBuf,
}

/// One conversion.
#[derive(Clone, Debug, serde::Serialize)]
struct Figures {
    image: String,
    contender: String,
    wall_s: f64,
    cpu_s: f64,
    result_bytes: u64,
    written_bytes: u64,
    peak_kib: u64,
}

#[derive(serde::Serialize)]
struct Results {
    machine: Machine,
    versions: Vec<(String, String)>,
    figures: Vec<Figures>,
}

/// Runs everything that was asked for, prints and saves it.
///
/// # Errors
/// When the images cannot be made, or a contender fails.
pub fn run(args: &ConvertArgs) -> Result<()> {
    interrupt::install();
    let actor = Actor::choose(args.user.as_deref())?;
    let Some(apptainer) = locate::peer("apptainer") else {
        bail!("apptainer is not installed (set SKIFF_PEERS)");
    };
    let work = args
        .work
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("/var/tmp/skiff-convert-{}", std::process::id())));
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let built = args.skiff.clone().map_or_else(
        || std::env::current_exe().map(|own| own.with_file_name("skiff")),
        Ok,
    )?;
    let skiff = work.join("skiff");
    fs::copy(&built, &skiff).with_context(|| format!("copying {}", built.display()))?;
    let mut results = Results {
        machine: Machine::probe(),
        versions: [("skiff", &skiff), ("apptainer", &apptainer)]
            .map(|(name, program)| (name.to_owned(), machine::version(program)))
            .to_vec(),
        figures: Vec::new(),
    };
    for name in &args.only {
        let layout = work.join(name);
        if !layout.join("index.json").exists() {
            note(&format!("making the image {name}"));
            make(name, &layout, args.megabytes)?;
        }
        for round in 0..args.rounds {
            let mut order = [("skiff", &skiff), ("apptainer", &apptainer)];
            if round % 2 == 1 {
                order.reverse();
            }
            for (contender, program) in order {
                interrupt::check()?;
                note(&format!("{name}, {contender}, round {}", round + 1));
                let figures = convert(&actor, &work, name, contender, program)?;
                results.figures.push(figures);
            }
        }
    }
    print(&results)?;
    let text = serde_json::to_string_pretty(&results)?;
    fs::write(&args.json, text + "\n").with_context(|| format!("{}", args.json.display()))?;
    if args.work.is_none() {
        fs::remove_dir_all(&work)?;
    }
    Ok(())
}

/// Converts the layout `name` once, with empty caches and the layout itself in memory.
fn convert(
    actor: &Actor,
    work: &Path,
    name: &str,
    contender: &str,
    program: &Path,
) -> Result<Figures> {
    let folder = work.join("run");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for part in ["", "tmp", "cache"] {
        fs::create_dir_all(folder.join(part))?;
        actor.give(&folder.join(part))?;
    }
    // Read once before, so that the disk is no part of it.
    read_all(&work.join(name))?;
    let target = folder.join("image.sif");
    let mut command = actor.command(program);
    command
        .env("TMPDIR", folder.join("tmp"))
        .env("APPTAINER_TMPDIR", folder.join("tmp"))
        .env("APPTAINER_CACHEDIR", folder.join("cache"))
        .env("SKIFF_CACHE_DIR", folder.join("cache"))
        .args(["build"])
        .arg(&target)
        .arg(format!("oci:{}", work.join(name).display()))
        .current_dir(&folder)
        .stderr(Stdio::piped());
    let written = written()?;
    let cpu = procs::children_cpu_time();
    let begin = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| program.display().to_string())?;
    let errors = child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut pipe, &mut text).map(|_| text)
        })
    });
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_of(&status_file));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let wall = begin.elapsed();
    if !status.success() {
        let text = errors.and_then(|thread| thread.join().ok()?.ok());
        bail!("{contender} failed: {status}: {}", text.unwrap_or_default());
    }
    Ok(Figures {
        image: name.to_owned(),
        contender: contender.to_owned(),
        wall_s: wall.as_secs_f64(),
        cpu_s: (procs::children_cpu_time() - cpu).as_secs_f64(),
        result_bytes: fs::metadata(&target)?.len(),
        written_bytes: self::written()? - written,
        peak_kib: peak,
    })
}

/// What this process and its children that have ended have caused to be written to disks.
fn written() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("/proc/self/io has no write_bytes")?.parse()?)
}

/// Peak resident memory of one process, in KiB; its children are not counted.
fn peak_of(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

fn read_all(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path)?;
        } else {
            std::io::copy(&mut fs::File::open(&path)?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

/// Parts of the root that go into images, the most useful first.
const PARTS: &[&str] = &[
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/python3",
    "usr/bin",
    "usr/lib",
    "usr/share",
    "usr/include",
    "usr/libexec",
    "usr/local",
    "usr/sbin",
    "opt",
];

/// Writes an image: `single` has one layer, `twelve` 12, some of which hide or replace what is below.
fn make(name: &str, layout: &Path, megabytes: u64) -> Result<()> {
    let folder = layout.with_extension("layers");
    fs::create_dir_all(&folder)?;
    let files = choose(megabytes << 20)?;
    let count = if name == "single" { 1 } else { 12 };
    let mut layers = Vec::new();
    for number in 0..count {
        let tar = folder.join(format!("{number}.tar"));
        let share = files.len().div_ceil(count);
        let mine = files.chunks(share).nth(number).unwrap_or_default();
        let mut list: Vec<u8> = Vec::new();
        for file in mine {
            list.extend_from_slice(file.as_bytes());
            list.push(0);
        }
        // Every layer also replaces some of the first one's files.
        if number > 0 {
            for file in files.iter().take(200).skip(number) {
                list.extend_from_slice(file.as_bytes());
                list.push(0);
            }
        }
        let list_file = folder.join("list");
        fs::write(&list_file, list)?;
        let mut command = Command::new("tar");
        command
            .args([
                "--null",
                "--no-recursion",
                "--numeric-owner",
                "-C",
                "/",
                "-T",
            ])
            .arg(&list_file)
            .arg("-cf")
            .arg(&tar);
        if !command.status()?.success() {
            bail!("tar could not read all of /usr");
        }
        layers.push((tar, Packing::Gzip));
    }
    let image = OciImage {
        layers,
        config: json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["true"]}),
    };
    image.layout(layout);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Paths, relative to the root, of files of about so many bytes in all, parents first.
fn choose(bytes: u64) -> Result<Vec<String>> {
    let mut left = bytes;
    let mut files = Vec::new();
    for part in PARTS {
        collect(Path::new(part), &mut left, &mut files)?;
    }
    if left > bytes / 10 {
        bail!("this machine has not enough in /usr and /opt: try a smaller --megabytes");
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

fn collect(path: &Path, left: &mut u64, files: &mut Vec<String>) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(Path::new("/").join(path)) else {
        return Ok(());
    };
    let (Some(text), true) = (path.to_str(), *left > 0) else {
        return Ok(());
    };
    files.push(text.to_owned());
    if metadata.is_dir() {
        let mut names: Vec<_> = fs::read_dir(Path::new("/").join(path))?
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        names.sort();
        for name in names {
            collect(&path.join(name), left, files)?;
        }
    } else {
        *left = left.saturating_sub(metadata.size());
    }
    Ok(())
}

fn print(results: &Results) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:8} {:10} {:>9} {:>9} {:>12} {:>12} {:>10}",
        "image", "program", "wall", "CPU", "result", "written", "peak"
    )?;
    for it in &results.figures {
        writeln!(
            out,
            "{:8} {:10} {:>7.2} s {:>7.2} s {:>8} MiB {:>8} MiB {:>6} MiB",
            it.image,
            it.contender,
            it.wall_s,
            it.cpu_s,
            it.result_bytes >> 20,
            it.written_bytes >> 20,
            it.peak_kib >> 10,
        )?;
    }
    let mut images: Vec<_> = results.figures.iter().map(|it| &it.image).collect();
    images.dedup();
    for image in images {
        let of = |contender: &str, figure: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = results
                .figures
                .iter()
                .filter(|it| it.image == *image && it.contender == contender)
                .map(figure)
                .collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let quotient = |figure: fn(&Figures) -> f64| of("skiff", figure) / of("apptainer", figure);
        let rows: [(&str, f64, f64); 4] = [
            (
                "wall, skiff / apptainer",
                quotient(|it| it.wall_s),
                TARGET_WALL,
            ),
            (
                "CPU, skiff / apptainer",
                quotient(|it| it.cpu_s),
                TARGET_CPU,
            ),
            (
                "size, skiff / apptainer",
                quotient(|it| it.result_bytes as f64),
                TARGET_SIZE,
            ),
            (
                "written / result, skiff",
                of("skiff", |it| {
                    it.written_bytes as f64 / it.result_bytes as f64
                }),
                TARGET_WRITTEN,
            ),
        ];
        for (what, value, target) in rows {
            let verdict = if value <= target { "met" } else { "MISSED" };
            writeln!(
                out,
                "{image:8} {what:26} {value:.3} (at most {target}): {verdict}"
            )?;
        }
    }
    Ok(())
}

fn note(text: &str) {
    // Progress; a closed terminal is no reason to stop.
    let _closed = writeln!(std::io::stderr(), "{text}");
}
