//! skiff against its peers, taking turns in one run so that noise hits all alike.

use crate::actor::Actor;
use crate::contender::Mounter;
use crate::gpu::{self, GpuArgs};
use crate::images::{self, BIG_FILE, PYTHON_DIR, Scale};
use crate::launcher::{Launcher, Target};
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::workload::{self, Pass, Workloads};
use crate::{interrupt, locate, procs};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct PeersArgs {
    /// Less data and fewer rounds: a look, not a result
    #[arg(long)]
    pub quick: bool,
    /// Rounds of each mount benchmark [default: 5, quick 3]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Rounds of the exec benchmark [default: 20, quick 7]
    #[arg(long)]
    pub exec_rounds: Option<usize>,
    /// Only these groups
    #[arg(long, value_delimiter = ',', default_values_t = ["exec", "gpu", "walk", "read", "tar", "import"].map(String::from))]
    pub only: Vec<String>,
    /// Only these of skiff, squashfuse_ll, kernel
    #[arg(long, value_delimiter = ',')]
    pub mounters: Vec<String>,
    /// Only these compressors
    #[arg(long, value_delimiter = ',', default_values_t = ["gzip", "zstd"].map(String::from))]
    pub compressors: Vec<String>,
    /// Binary to measure [default: the one beside this program]
    #[arg(long)]
    pub skiff: Option<PathBuf>,
    /// Ordinary user to measure with, when started by root
    #[arg(long)]
    pub user: Option<String>,
    /// Directory for trees and images; what lies there is used again and kept
    #[arg(long)]
    pub work: Option<PathBuf>,
    /// Where the JSON goes
    #[arg(long, default_value = "benches/results/peers.json")]
    pub json: PathBuf,
}

/// Runs everything that was asked for, prints and saves it.
///
/// # Errors
/// When the data cannot be made, or a contender that is there fails.
pub fn run(args: &PeersArgs) -> Result<()> {
    interrupt::install();
    let mut bench = Bench::prepare(args)?;
    let outcome = bench.measure(args);
    bench.clean_up()?;
    outcome?;
    bench.report.print()?;
    bench.report.save(&args.json)
}

/// How long skiff's server stays in the exec benchmark after its last container.
const LINGER: Duration = Duration::from_secs(1);

struct Bench {
    report: Report,
    actor: Actor,
    workloads: Workloads,
    skiff: Option<PathBuf>,
    /// Everything this run writes, on tmpfs where there is one, so that no disk is measured.
    work: PathBuf,
    mount_point: PathBuf,
    keep: bool,
    scale: Scale,
}

impl Bench {
    fn prepare(args: &PeersArgs) -> Result<Self> {
        let actor = Actor::choose(args.user.as_deref())?;
        let work = match &args.work {
            Some(dir) => dir.clone(),
            None => scratch_base().join(format!("skiff-bench-{}", std::process::id())),
        };
        fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
        let work = work.canonicalize()?;
        fs::set_permissions(&work, fs::Permissions::from_mode(0o755))?;
        let mount_point = work.join("mnt");
        fs::create_dir_all(&mount_point)?;
        actor.give(&mount_point)?;

        let own = std::env::current_exe()?;
        let worker = install(&own, &work.join("peers-worker"))?;
        let candidate = args
            .skiff
            .clone()
            .unwrap_or_else(|| own.with_file_name("skiff"));
        let mut skipped = Vec::new();
        let skiff = if candidate.is_file() {
            Some(install(&candidate, &work.join("skiff"))?)
        } else {
            skipped.push(format!("skiff: no binary at {}", candidate.display()));
            None
        };
        let driver = work.join("import_driver.py");
        fs::write(&driver, images::IMPORT_DRIVER)?;
        let python = locate::system("python3");
        let scale = if args.quick {
            Scale::QUICK
        } else {
            Scale::FULL
        };
        let report = Report {
            machine: Machine::probe(),
            scale,
            versions: Vec::new(),
            skipped,
            measurements: Vec::new(),
            ratios: Vec::new(),
        };
        let workloads = Workloads {
            worker,
            python,
            driver,
            actor: actor.clone(),
        };
        Ok(Self {
            report,
            actor,
            workloads,
            skiff,
            work,
            mount_point,
            keep: args.work.is_some(),
            scale,
        })
    }

    fn measure(&mut self, args: &PeersArgs) -> Result<()> {
        let (rounds, exec_rounds) = if args.quick { (3, 7) } else { (5, 20) };
        let wants = |group: &str| args.only.iter().any(|name| name == group);
        if wants("exec") {
            self.exec(args.exec_rounds.unwrap_or(exec_rounds))?;
        }
        if wants("gpu") {
            self.gpu(args.exec_rounds.unwrap_or(exec_rounds))?;
        }
        let groups: Vec<&str> = ["walk", "read", "tar", "import"]
            .into_iter()
            .filter(|group| wants(group))
            .collect();
        if groups.is_empty() {
            return Ok(());
        }
        let mut contenders = self.mounters();
        let wanted = |name: &str| {
            args.mounters.is_empty() || args.mounters.iter().any(|wanted| wanted == name)
        };
        contenders.retain(|mounter| wanted(mounter.name()));
        let tree = self.tree()?;
        for compressor in &args.compressors {
            let image = self.work.join(format!("{compressor}.sqfs"));
            if !image.exists() {
                note(&format!("packing {compressor} image"));
                images::pack(&tree, &image, compressor)?;
            }
            let rounds = args.rounds.unwrap_or(rounds);
            for round in 0..rounds {
                note(&format!("{compressor}, round {} of {rounds}", round + 1));
                for turn in 0..contenders.len() {
                    // Who begins changes from round to round.
                    let mounter = &contenders[(turn + round) % contenders.len()];
                    for group in &groups {
                        interrupt::check()?;
                        self.mounted_group(group, compressor, mounter, &image)?;
                    }
                }
            }
            self.compare_mounts(compressor);
        }
        Ok(())
    }

    /// The tree that gets packed; made once.
    fn tree(&mut self) -> Result<PathBuf> {
        let tree = self.work.join("tree");
        if !tree.exists() {
            note("generating the tree");
            let unfinished = self.work.join("tree.unfinished");
            images::write_tree(&unfinished, self.scale)?;
            if let Some(python) = &self.workloads.python {
                images::compile_python(&unfinished, python)?;
            }
            fs::rename(&unfinished, &tree)?;
        }
        Ok(tree)
    }

    fn mounters(&mut self) -> Vec<Mounter> {
        let mut contenders = Vec::new();
        contenders.extend(self.skiff.clone().map(Mounter::Skiff));
        match locate::peer("squashfuse_ll") {
            Some(program) => {
                self.version("squashfuse_ll", &program);
                contenders.push(Mounter::SquashfuseLl(program));
            }
            None => self
                .skip("squashfuse_ll: not installed (set SKIFF_PEERS, or apt install squashfuse)"),
        }
        if rustix::process::geteuid().is_root() {
            contenders.push(Mounter::Kernel);
        } else {
            self.skip("kernel squashfs: needs root");
        }
        contenders
    }

    fn mounted_group(
        &mut self,
        group: &str,
        compressor: &str,
        mounter: &Mounter,
        image: &Path,
    ) -> Result<()> {
        let dir = self.mount_point.clone();
        let python_dir = dir.join(PYTHON_DIR);
        // The interpreter's own files have to be warm whoever comes first.
        if group == "import" && self.workloads.python.is_some() {
            self.workloads.warm_python()?;
        }
        if matches!(mounter, Mounter::Kernel) {
            drop_caches()?;
            self.workloads.warm_tools();
        }
        let mounted = mounter.mount(image, &dir, &self.actor)?;
        let mut record = |what: String, pass: Pass, cpu: Option<f64>| -> Result<()> {
            let entry = self.report.entry(&what, Some(compressor), mounter.name());
            entry.wall.seconds.push(pass.seconds);
            entry.reader_cpu.seconds.push(pass.cpu_seconds);
            entry.server_cpu.seconds.extend(cpu);
            entry.amount = pass.amount;
            Ok(())
        };
        let cpu = || mounted.server_cpu().map(|time| time.as_secs_f64());
        match group {
            "walk" | "read" => {
                let before = cpu();
                let passes = match group {
                    "walk" => self.workloads.walk(&dir)?,
                    _ => self.workloads.read(&dir.join(BIG_FILE))?,
                };
                // The server works in the cold pass; in the warm one the kernel's caches answer.
                let used = cpu().zip(before).map(|(after, before)| after - before);
                for (pass, (temperature, cpu)) in
                    passes.into_iter().zip([("cold", used), ("warm", None)])
                {
                    record(format!("{group} {temperature}"), pass, cpu)?;
                }
            }
            "tar" => {
                let pass = self.workloads.archive(&dir)?;
                record("tar cold".to_owned(), pass, cpu())?;
            }
            "import" if self.workloads.python.is_some() => {
                let pass = self.workloads.import(&python_dir, true)?;
                record("import cold, sources".to_owned(), pass, cpu())?;
                let pass = self.workloads.import(&python_dir, true)?;
                record("import warm, sources".to_owned(), pass, None)?;
            }
            "import" => {}
            _ => bail!("no such group: {group}"),
        }
        mounted.unmount()?;
        if group == "import" && self.workloads.python.is_some() {
            let mounted = mounter.mount(image, &dir, &self.actor)?;
            let pass = self.workloads.import(&python_dir, false)?;
            let cpu = mounted.server_cpu().map(|time| time.as_secs_f64());
            let entry =
                self.report
                    .entry("import cold, byte code", Some(compressor), mounter.name());
            entry.wall.seconds.push(pass.seconds);
            entry.reader_cpu.seconds.push(pass.cpu_seconds);
            entry.server_cpu.seconds.extend(cpu);
            entry.amount = pass.amount;
            mounted.unmount()?;
        }
        Ok(())
    }

    fn compare_mounts(&mut self, compressor: &str) {
        let target = |what: &str| match what {
            "walk cold" => Some(0.6),
            "read cold" | "import cold, sources" | "import cold, byte code" => Some(0.7),
            _ => None,
        };
        let gzip = compressor == "gzip";
        let done: Vec<String> = self
            .report
            .measurements
            .iter()
            .map(|measurement| measurement.what.clone())
            .collect();
        let mut seen = Vec::new();
        for what in done {
            if what.starts_with("exec") || seen.contains(&what) {
                continue;
            }
            let wanted = target(&what).filter(|_| gzip || what != "read cold");
            self.report
                .compare(&what, Some(compressor), "skiff", "squashfuse_ll", wanted);
            self.report
                .compare(&what, Some(compressor), "skiff", "kernel", None);
            seen.push(what);
        }
    }

    fn exec(&mut self, rounds: usize) -> Result<()> {
        let tree = self.work.join("userland");
        if !tree.exists() {
            images::write_userland(&tree, &self.actor)?;
        }
        let mut launchers = vec![Launcher::Bare];
        if let Some(skiff) = self.skiff.clone() {
            self.version("skiff", &skiff);
            launchers.extend([
                Launcher::SkiffCold(skiff.clone()),
                Launcher::SkiffWarm(skiff),
            ]);
        }
        let image = match locate::peer("apptainer") {
            Some(apptainer) => {
                self.version("apptainer", &apptainer);
                let sif = self.work.join("userland.sif");
                if !sif.exists() {
                    images::build_sif(&apptainer, &tree, &sif)?;
                }
                launchers.push(Launcher::Apptainer(apptainer));
                sif
            }
            None => {
                self.skip("apptainer: not installed (set SKIFF_PEERS)");
                let image = self.work.join("userland.sqfs");
                if !image.exists() {
                    images::pack(&tree, &image, "gzip")?;
                }
                image
            }
        };
        match locate::system("bwrap") {
            Some(bwrap) => {
                self.version("bwrap", &bwrap);
                launchers.push(Launcher::Bwrap(bwrap));
            }
            None => self.skip("bwrap: not installed (apt install bubblewrap)"),
        }
        let target = Target { image, tree };
        note(&format!("exec latency, {rounds} rounds"));
        for round in 0..=rounds {
            for launcher in &launchers {
                interrupt::check()?;
                // The server of the round before leaves by itself; a killed one would leave a mess.
                if let Launcher::SkiffCold(program) = launcher
                    && !procs::wait_until_gone(program, 10 * LINGER)
                {
                    bail!(
                        "the server did not leave {} s after its last container",
                        LINGER.as_secs()
                    );
                }
                let elapsed = workload::time(&mut launcher.command(&target, &self.actor, LINGER))?;
                // Round 0 warms the page cache for everybody and does not count.
                if round > 0 {
                    let entry = self.report.entry("exec true", None, launcher.name());
                    entry.wall.push(elapsed);
                    entry.amount = 1;
                }
            }
        }
        let (cold, warm) = ("skiff, nothing mounted", "skiff, server running");
        self.report
            .compare("exec true", None, cold, "apptainer", Some(1.0 / 6.0));
        self.report
            .compare("exec true", None, warm, "apptainer", Some(1.0 / 20.0));
        self.report
            .compare("exec true", None, warm, "bwrap, same binds", Some(2.0));
        Ok(())
    }

    /// `--nv` with a made-up driver of 40 libraries.
    fn gpu(&mut self, rounds: usize) -> Result<()> {
        let Some(skiff) = self.skiff.clone() else {
            return Ok(());
        };
        let tree = self.work.join("userland");
        if !tree.exists() {
            images::write_userland(&tree, &self.actor)?;
        }
        let image = self.work.join("gpu.sqfs");
        if !image.exists() {
            images::pack(&tree, &image, "gzip")?;
        }
        note(&format!("--nv, {rounds} rounds"));
        let args = GpuArgs {
            skiff,
            image,
            user: self.actor.name.clone(),
            rounds,
        };
        let times = match gpu::run(&self.workloads.worker, &self.work, &args)? {
            Ok(times) => times,
            Err(reason) => {
                self.skip(&format!("exec --nv: {reason}"));
                return Ok(());
            }
        };
        let (without, with) = ("skiff, without", "skiff, with --nv");
        for (contender, seconds) in [(without, times.without), (with, times.with)] {
            let entry = self.report.entry("exec true, GPU driver", None, contender);
            entry.wall.seconds.extend(seconds);
            entry.amount = 1;
        }
        self.report
            .compare("exec true, GPU driver", None, with, without, Some(1.5));
        Ok(())
    }

    fn version(&mut self, name: &str, program: &Path) {
        self.report
            .versions
            .push((name.to_owned(), machine::version(program)));
    }

    fn skip(&mut self, reason: &str) {
        self.report.skipped.push(reason.to_owned());
    }

    fn clean_up(&mut self) -> Result<()> {
        if let Some(skiff) = &self.skiff
            && !procs::wait_until_gone(skiff, 5 * LINGER)
        {
            procs::end(skiff);
        }
        if !self.keep {
            fs::remove_dir_all(&self.work)
                .with_context(|| format!("removing {}", self.work.display()))?;
        }
        Ok(())
    }
}

/// /dev/shm when it has room for trees and images, else the temporary directory.
fn scratch_base() -> PathBuf {
    const NEEDED: u64 = 3 << 30;
    let shm = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(shm).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if free >= NEEDED {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Copies a program to where the ordinary user may execute it.
fn install(program: &Path, to: &Path) -> Result<PathBuf> {
    fs::copy(program, to).with_context(|| format!("copying {}", program.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(to.to_owned())
}

fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the kernel's caches")
}

fn note(text: &str) {
    use std::io::Write;
    // Progress only; nobody to tell when stderr is gone.
    let _lost = writeln!(std::io::stderr(), "peers: {text}");
}
