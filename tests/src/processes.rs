//! Looking for the processes of skiff that serve one image.

use std::fs;
use std::path::{Path, PathBuf};

/// A running process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// `comm`: the server is `skiff-server`, its keeper `skiff-holder`.
    pub name: String,
}

/// Processes that have `file` open, or a file since deleted that was there.
pub fn holding(file: &Path) -> Vec<Process> {
    let deleted = PathBuf::from(format!("{} (deleted)", file.display()));
    all()
        .into_iter()
        .filter(|process| {
            fs::read_dir(format!("/proc/{}/fd", process.pid))
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|target| target == file || target == deleted)
        })
        .collect()
}

/// Those of [`holding`] that are servers.
pub fn servers(image: &Path) -> Vec<Process> {
    holding(image)
        .into_iter()
        .filter(|process| process.name == "skiff-server")
        .collect()
}

/// All processes of the machine.
pub fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (head, tail) = stat.rsplit_once(')')?;
            let name = head.split_once('(')?.1.to_owned();
            let parent = tail.split_whitespace().nth(1)?.parse().ok()?;
            // A zombie holds nothing and answers nobody.
            (tail.split_whitespace().next()? != "Z").then_some(Process { pid, parent, name })
        })
        .collect()
}

/// Largest resident size that process `pid` had so far, in bytes.
pub fn peak_memory(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Number of descriptors that process `pid` has open.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
