//! Facts about the machine without which a number means nothing.

use std::path::Path;
use std::process::Command;

/// Where and when a run took place.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// Usable cores.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Load average of the last minute at the start: other work on the machine.
    pub load: f64,
    /// How the kernel's squashfs decompresses, where it tells (`DECOMP_…`).
    pub kernel_squashfs: String,
    /// Start, Unix seconds.
    pub unix_time: u64,
}

impl Machine {
    /// Asks the machine.
    pub fn probe() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':'))
                .map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let load = read("/proc/loadavg");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            kernel_squashfs: squashfs_config(),
            unix_time: now.map_or(0, |since| since.as_secs()),
        }
    }
}

fn squashfs_config() -> String {
    let output = Command::new("zcat")
        .arg("/proc/config.gz")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let set = text
        .lines()
        .filter_map(|line| line.strip_prefix("CONFIG_SQUASHFS_")?.strip_suffix("=y"));
    set.filter(|name| name.starts_with("DECOMP_") || name.starts_with("FILE_"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first line that looks like a version among those that `program --version`, else `--help`, prints.
pub fn version(program: &Path) -> String {
    let asked = ["--version", "--help"].into_iter().map(|option| {
        let output = Command::new(program).arg(option).output();
        let text = output
            .map(|output| [output.stdout, output.stderr].concat())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines()
            .find(|line| is_version(line))
            .map(|line| line.trim().to_owned())
    });
    asked
        .flatten()
        .next()
        .unwrap_or_else(|| "version unknown".to_owned())
}

/// Whether a line contains something like `1.2`.
fn is_version(line: &str) -> bool {
    line.as_bytes()
        .windows(3)
        .any(|w| w[0].is_ascii_digit() && w[1] == b'.' && w[2].is_ascii_digit())
}
