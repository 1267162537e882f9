//! Processes started from one program file: their CPU time, and how to end them.
//!
//! skiff's server is started by skiff itself, so it is no child of ours. The benchmark runs a copy of
//! the binary of its own; whatever executes that copy was started by this benchmark and no other.

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

/// Ids of the processes that execute `program`.
pub fn executing(program: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .parse()
                .ok()
                .and_then(Pid::from_raw)
        })
        .filter(|pid| std::fs::read_link(proc_file(*pid, "exe")).is_ok_and(|exe| exe == program))
        .collect()
}

/// User and system time that a process has used so far; 0 when it is gone.
pub fn cpu_time(pid: Pid) -> Duration {
    ticks(&proc_file(pid, "stat"), 11)
}

/// The same of this process.
pub fn own_cpu_time() -> Duration {
    ticks("/proc/self/stat", 11)
}

/// The same of all its children that have ended.
pub fn children_cpu_time() -> Duration {
    ticks("/proc/self/stat", 13)
}

/// Sum of the two fields of a stat file (proc_pid_stat(5)) from `first` on, counted from the state.
fn ticks(path: &str, first: usize) -> Duration {
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    let ticks = stat.rsplit_once(')').map_or(0, |(_, rest)| {
        let user_and_system = rest.split_whitespace().skip(first).take(2);
        user_and_system
            .filter_map(|field| field.parse::<u64>().ok())
            .sum()
    });
    // USER_HZ is 100 on every architecture that Linux still supports.
    Duration::from_millis(ticks * 10)
}

/// Waits until nothing executes `program` any more; false when something still does after `patience`.
pub fn wait_until_gone(program: &Path, patience: Duration) -> bool {
    let started = Instant::now();
    while !executing(program).is_empty() {
        if started.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Ends all processes that execute `program`; those that ignore SIGTERM are killed after 3 s.
pub fn end(program: &Path) {
    let started = Instant::now();
    let mut asked = Vec::new();
    loop {
        let left = executing(program);
        if left.is_empty() || started.elapsed() > Duration::from_secs(10) {
            return;
        }
        let insist = started.elapsed() > Duration::from_secs(3);
        for pid in left {
            let signal = if insist { Signal::KILL } else { Signal::TERM };
            if insist || !asked.contains(&pid) {
                asked.push(pid);
                // It may have ended by itself in between.
                let _gone = kill_process(pid, signal);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn proc_file(pid: Pid, name: &str) -> String {
    format!("/proc/{}/{name}", pid.as_raw_nonzero())
}
