//! Images that are elsewhere: how soon a program runs, and what the cache costs when it has it all.
//!
//! ```text
//! ordinary user here  ══ 1 Gbit/s, 2 ms a request ══  server in a network namespace
//!   skiff exec URL                      against   apptainer pull URL && apptainer exec
//!   skiff exec URL, all in the cache    against   skiff exec of the file itself
//! ```

pub mod link;
pub mod server;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skiff_tests::numpy::add_numpy;
use skiff_tests::userland::{add_programs, add_python, lay_out};

use crate::actor::Actor;
use crate::generate;
use crate::images::{self, Scale};
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::{interrupt, locate, procs};
use link::Link;

/// How long every request takes beside the transfer.
const LATENCY: Duration = Duration::from_millis(2);

const MEGABITS: u32 = 1000;

/// What is started.
const PROGRAM: [&str; 3] = ["python3", "-c", "import numpy; print(numpy.__name__)"];

const START: &str = "import numpy over 1 Gbit/s";
const FIRST: &str = "skiff exec URL, first";
const SECOND: &str = "skiff exec URL, second";
const PROFILED: &str = "skiff exec URL with a profile, first";
const PULL: &str = "apptainer pull, exec";
const CACHED: &str = "skiff, warm cache";
const LOCAL: &str = "skiff, local file";

/// Options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoteArgs {
    /// A smaller image and fewer rounds: a look, not a result
    #[arg(long)]
    pub quick: bool,
    /// Rounds [default: 5, quick 2]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Only these groups
    #[arg(long, value_delimiter = ',', default_values_t = ["start", "hits"].map(String::from))]
    pub only: Vec<String>,
    /// Binary to measure [default: the one beside this program]
    #[arg(long)]
    pub skiff: Option<PathBuf>,
    /// Ordinary user to measure with
    #[arg(long)]
    pub user: Option<String>,
    /// Directory for trees and images; what lies there is used again and kept
    #[arg(long)]
    pub work: Option<PathBuf>,
    /// Where the JSON goes
    #[arg(long, default_value = "benches/results/remote.json")]
    pub json: PathBuf,
}

/// What went over the link.
#[derive(Clone, Debug, serde::Serialize)]
struct Traffic {
    contender: String,
    requests: u64,
    bytes: u64,
}

/// All of a run.
#[derive(serde::Serialize)]
struct Results {
    #[serde(flatten)]
    report: Report,
    image_bytes: u64,
    link_megabits: u32,
    request_latency_ms: u128,
    traffic: Vec<Traffic>,
}

/// Runs everything that was asked for, prints and saves it.
///
/// # Errors
/// When the data cannot be made, or a contender that is there fails.
pub fn run(args: &RemoteArgs) -> Result<()> {
    if let Some(reason) = link::missing() {
        return Ok(writeln!(std::io::stdout(), "SKIP remote: {reason}")?);
    }
    interrupt::install();
    let mut bench = Bench::prepare(args)?;
    let outcome = bench.measure(args);
    bench.clean_up()?;
    outcome?;
    bench.print()?;
    bench.save(&args.json)
}

struct Bench {
    results: Results,
    actor: Actor,
    skiff: PathBuf,
    apptainer: Option<PathBuf>,
    image: PathBuf,
    work: PathBuf,
    keep: bool,
    url: String,
    link: Option<Link>,
}

impl Bench {
    fn prepare(args: &RemoteArgs) -> Result<Self> {
        let actor = Actor::choose(args.user.as_deref())?;
        let work = match &args.work {
            Some(dir) => dir.clone(),
            None => Path::new("/dev/shm").join(format!("skiff-remote-{}", std::process::id())),
        };
        fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
        fs::set_permissions(&work, fs::Permissions::from_mode(0o755))?;
        let built = args.skiff.clone().map_or_else(
            || std::env::current_exe().map(|own| own.with_file_name("skiff")),
            Ok,
        )?;
        let skiff = work.join("skiff");
        fs::copy(&built, &skiff).with_context(|| format!("copying {}", built.display()))?;
        fs::set_permissions(&skiff, fs::Permissions::from_mode(0o755))?;
        let scale = Scale {
            packages: 40,
            big_bytes: if args.quick { 64 << 20 } else { 256 << 20 },
        };
        let mut report = Report {
            machine: Machine::probe(),
            scale,
            versions: vec![("skiff".to_owned(), machine::version(&skiff))],
            skipped: Vec::new(),
            measurements: Vec::new(),
            ratios: Vec::new(),
        };
        let apptainer = locate::peer("apptainer");
        match &apptainer {
            Some(program) => {
                let version = machine::version(program);
                report.versions.push(("apptainer".to_owned(), version));
            }
            None => bail!("apptainer is not installed (set SKIFF_PEERS): no SIF can be made"),
        }
        let image = work.join("image.sif");
        if let (Some(apptainer), false) = (&apptainer, image.exists()) {
            note("making the image");
            let padding: u64 = if args.quick { 200 << 20 } else { 1000 << 20 };
            build_image(apptainer, &work, &image, scale, padding)?;
        }
        let results = Results {
            report,
            image_bytes: fs::metadata(&image)?.len(),
            link_megabits: MEGABITS,
            request_latency_ms: LATENCY.as_millis(),
            traffic: Vec::new(),
        };
        let mut bench = Self {
            results,
            actor,
            skiff,
            apptainer,
            image,
            keep: args.work.is_some(),
            url: String::new(),
            link: None,
            work,
        };
        let profiled = bench.profiled()?;
        let mut link = Link::new(MEGABITS)?;
        let state = bench.fresh("server")?;
        bench.url = link.serve([&bench.image, &profiled], LATENCY, &state)?;
        bench.link = Some(link);
        Ok(bench)
    }

    /// The same image with what the program reads laid together.
    fn profiled(&self) -> Result<PathBuf> {
        let profiled = self.work.join("profiled.sif");
        if profiled.exists() {
            return Ok(profiled);
        }
        note("laying the image out for the program");
        self.fresh("run")?;
        let folder = self.fresh("profiled")?;
        let list = folder.join("reads");
        let mut command = self.command(&self.skiff);
        command.env("SKIFF_ACCESS_LOG", &list);
        command.arg("exec").arg(&self.image).args(PROGRAM);
        output(&mut command)?;
        let mut command = self.command(&self.skiff);
        command.env("APPTAINER_TMPDIR", &folder);
        command.args(["build", "--access-profile"]).arg(&list);
        command.arg(folder.join("image.sif")).arg(&self.image);
        output(&mut command)?;
        fs::rename(folder.join("image.sif"), &profiled)?;
        Ok(profiled)
    }

    /// An empty folder of the ordinary user's.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        // Sockets are made in no other.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        self.actor.give(&folder)?;
        Ok(folder)
    }

    fn measure(&mut self, args: &RemoteArgs) -> Result<()> {
        let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
        let wants = |group: &str| args.only.iter().any(|name| name == group);
        if wants("start") {
            for round in 0..rounds {
                note(&format!("start, round {} of {rounds}", round + 1));
                self.start()?;
            }
            let report = &mut self.results.report;
            report.compare(START, None, FIRST, PULL, Some(1.0 / 8.0));
            report.compare(START, None, SECOND, PULL, None);
            report.compare(START, None, PROFILED, PULL, None);
            report.compare(START, None, PROFILED, FIRST, None);
        }
        if wants("hits") {
            self.hits(rounds)?;
        }
        Ok(())
    }

    /// The command of a contender, with the server's authority known.
    fn command(&self, program: &Path) -> Command {
        let mut command = self.actor.command(program);
        command
            .env("SSL_CERT_FILE", self.work.join("server/ca.pem"))
            .env("SKIFF_CACHE_DIR", self.work.join("cache"))
            .env("SKIFF_RUNTIME_DIR", self.work.join("run"))
            .env("SKIFF_TAG_TTL", "1h")
            .env("SKIFF_LINGER", "0")
            .env("APPTAINER_CACHEDIR", self.work.join("apptainer"))
            .current_dir(&self.work);
        command
    }

    fn start(&mut self) -> Result<()> {
        self.fresh("cache")?;
        self.fresh("run")?;
        for contender in [FIRST, SECOND] {
            interrupt::check()?;
            let mut command = self.command(&self.skiff.clone());
            command.arg("exec").arg(&self.url).args(PROGRAM);
            self.timed(START, contender, |_| output(&mut command))?;
            self.wait()?;
        }
        self.fresh("cache")?;
        let mut command = self.command(&self.skiff.clone());
        let url = self.url.replace("/image.sif", "/profiled.sif");
        command.arg("exec").arg(url).args(PROGRAM);
        self.timed(START, PROFILED, |_| output(&mut command))?;
        self.wait()?;
        let Some(apptainer) = self.apptainer.clone() else {
            return Ok(());
        };
        self.fresh("apptainer")?;
        let target = self.fresh("pulled")?.join("image.sif");
        self.timed(START, PULL, |bench| {
            let mut pull = bench.command(&apptainer);
            pull.args(["--silent", "pull"]).arg(&target).arg(&bench.url);
            output(&mut pull)?;
            let mut exec = bench.command(&apptainer);
            exec.arg("exec").arg(&target).args(PROGRAM);
            output(&mut exec)
        })?;
        // A gigabyte each on a file system in memory.
        self.fresh("pulled")?;
        self.fresh("apptainer")?;
        Ok(())
    }

    fn timed(
        &mut self,
        what: &str,
        contender: &str,
        work: impl FnOnce(&Self) -> Result<String>,
    ) -> Result<String> {
        let before = self.figures();
        let begin = Instant::now();
        let text = work(self)?;
        let took = begin.elapsed();
        // The server writes its figures down five times a second.
        std::thread::sleep(Duration::from_millis(450));
        let after = self.figures();
        let entry = self.results.report.entry(what, None, contender);
        entry.wall.push(took);
        entry.amount = 1;
        let traffic = &mut self.results.traffic;
        if what == START && !traffic.iter().any(|it| it.contender == contender) {
            traffic.push(Traffic {
                contender: contender.to_owned(),
                requests: after.0.saturating_sub(before.0),
                bytes: after.1.saturating_sub(before.1),
            });
        }
        Ok(text)
    }

    fn figures(&self) -> (u64, u64) {
        let text = fs::read_to_string(self.work.join("server/figures")).unwrap_or_default();
        let mut numbers = text.split(' ').filter_map(|word| word.trim().parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Reads the same through the cache and from the file: data that compresses as usual with the
    /// Python trees, and data that does not compress, for which decoding costs nothing.
    fn hits(&mut self, rounds: usize) -> Result<()> {
        self.fresh("cache")?;
        self.fresh("run")?;
        for (what, folders) in [
            ("read a tree and 256 MiB", "/data /python /usr"),
            ("read what does not compress", "/padding"),
        ] {
            let script = format!("tar cf - {folders} 2>/dev/null | wc -c");
            for round in 0..=rounds {
                note(&format!("{what}, round {round} of {rounds}"));
                let mut order = [
                    (CACHED, self.url.clone()),
                    (LOCAL, self.image.display().to_string()),
                ];
                if round % 2 == 1 {
                    order.reverse();
                }
                for (contender, image) in order {
                    interrupt::check()?;
                    let mut command = self.command(&self.skiff.clone());
                    command.args(["exec", &image, "sh", "-c", &script]);
                    let begin = Instant::now();
                    let text = output(&mut command)?;
                    let took = begin.elapsed();
                    let amount: u64 = text.trim().parse().context("counting bytes of tar")?;
                    // Round 0 fills the cache.
                    if round > 0 {
                        let entry = self.results.report.entry(what, None, contender);
                        entry.wall.push(took);
                        entry.amount = amount;
                    }
                    self.wait()?;
                }
            }
            let report = &mut self.results.report;
            report.compare(what, None, CACHED, LOCAL, Some(1.15));
        }
        Ok(())
    }

    /// Every start gets a server of its own.
    fn wait(&self) -> Result<()> {
        if !procs::wait_until_gone(&self.skiff, Duration::from_secs(20)) {
            bail!("skiff's server did not leave after its last container");
        }
        Ok(())
    }

    fn print(&self) -> Result<()> {
        self.results.report.print()?;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "\nover the link, of an image of {} bytes:",
            self.results.image_bytes
        )?;
        for it in &self.results.traffic {
            writeln!(
                out,
                "  {:<24}{:>6} requests {:>12} bytes",
                it.contender, it.requests, it.bytes
            )?;
        }
        Ok(())
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.results)?;
        text.push(b'\n');
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn clean_up(&mut self) -> Result<()> {
        self.link = None;
        if !procs::wait_until_gone(&self.skiff, Duration::from_secs(5)) {
            procs::end(&self.skiff);
        }
        if !self.keep {
            fs::remove_dir_all(&self.work)
                .with_context(|| format!("removing {}", self.work.display()))?;
        }
        Ok(())
    }
}

/// A userland with Python and numpy, the trees of the other benchmarks, and padding that makes it
/// as large as the images of real laboratories.
fn build_image(
    apptainer: &Path,
    work: &Path,
    image: &Path,
    scale: Scale,
    padding: u64,
) -> Result<()> {
    let root = work.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    lay_out(&root);
    add_programs(&root, &["tar"]);
    add_python(&root);
    add_numpy(&root);
    images::write_tree(&root, scale)?;
    fs::create_dir_all(root.join("padding"))?;
    let mut random = generate::Random::new(23);
    for number in 0..padding / (50 << 20) {
        let mut bytes = Vec::with_capacity(50 << 20);
        while bytes.len() < 50 << 20 {
            bytes.extend(random.next().to_le_bytes());
        }
        fs::write(root.join(format!("padding/{number}.bin")), bytes)?;
    }
    images::build_sif(apptainer, &root, image)?;
    Ok(fs::remove_dir_all(&root)?)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{}: {command:?}", output.status);
    }
    String::from_utf8(output.stdout).context("a program wrote something else than text")
}

fn note(text: &str) {
    // Progress only; nobody to tell when stderr is gone.
    let _lost = writeln!(std::io::stderr(), "remote: {text}");
}
