//! What a control group has used so far, for `instance stats`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroupfs::{below, group_in};

/// Use of one control group and all below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Processor time in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory in bytes, page cache included.
    pub memory: u64,
    /// Its limit; `None`: the machine's memory.
    pub memory_limit: Option<u64>,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to them.
    pub block_written: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; `None`: none.
    pub pids_limit: Option<u64>,
}

/// The figures of the group that the process `pid` is in.
///
/// # Errors
/// There is no such process, or it is in no group of its own (`NotFound`).
pub fn of(pid: i32) -> io::Result<Figures> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // What others are in as well says nothing about a container.
    let text: String = text
        .lines()
        .filter(|line| super::is_ours(line))
        .map(|line| format!("{line}\n"))
        .collect();
    read(Path::new("/sys/fs/cgroup"), &text)
}

fn read(mounts: &Path, text: &str) -> io::Result<Figures> {
    let two = [mounts.to_owned(), mounts.join("unified")]
        .into_iter()
        .find(|mount| mount.join("cgroup.controllers").exists())
        .and_then(|mount| Some(below(&mount, group_in(text, None)?)));
    let old = |controller: &str| {
        Some(below(
            &mounts.join(controller),
            group_in(text, Some(controller))?,
        ))
    };
    let mut figures = Figures::default();
    let mut found = false;
    let mut take = |into: &mut u64, value: Option<u64>| {
        if let Some(value) = value {
            *into = value;
            found = true;
        }
    };
    let number = |group: Option<&PathBuf>, file: &str| {
        fs::read_to_string(group?.join(file))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let two = two.as_ref();
    let usage = two
        .and_then(|group| fs::read_to_string(group.join("cpu.stat")).ok())
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse::<u64>().ok())
        })
        .map(|microseconds| microseconds.saturating_mul(1000));
    let cpu = number(old("cpuacct").as_ref(), "cpuacct.usage");
    take(&mut figures.cpu_nanoseconds, cpu.or(usage));
    let memory = old("memory");
    take(
        &mut figures.memory,
        number(memory.as_ref(), "memory.usage_in_bytes").or(number(two, "memory.current")),
    );
    // Version 1 says "no limit" with a number that no machine has.
    figures.memory_limit = number(memory.as_ref(), "memory.limit_in_bytes")
        .or(number(two, "memory.max"))
        .filter(|&limit| limit < 1 << 62);
    take(
        &mut figures.pids,
        number(old("pids").as_ref(), "pids.current").or(number(two, "pids.current")),
    );
    figures.pids_limit = number(old("pids").as_ref(), "pids.max").or(number(two, "pids.max"));
    (figures.block_read, figures.block_written) = two
        .and_then(|group| fs::read_to_string(group.join("io.stat")).ok())
        .filter(|text| !text.is_empty())
        .map(|text| block(&text))
        .or_else(|| {
            let file = "blkio.throttle.io_service_bytes_recursive";
            let text = fs::read_to_string(old("blkio")?.join(file)).ok()?;
            Some(old_block(&text))
        })
        .unwrap_or_default();
    if found {
        Ok(figures)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// `8:0 rbytes=1 wbytes=2 …` per device.
fn block(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1` and so on.
fn old_block(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        text.lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace().skip(1);
                (fields.next() == Some(word)).then(|| fields.next()?.parse::<u64>().ok())?
            })
            .fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two() {
        let folder = tempfile::tempdir().expect("a folder");
        let group = folder.path().join("a/b");
        fs::create_dir_all(&group).expect("made");
        fs::write(folder.path().join("cgroup.controllers"), "").expect("written");
        for (file, text) in [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            (
                "io.stat",
                "8:0 rbytes=5 wbytes=6 rios=1\n8:16 rbytes=1 wbytes=1\n",
            ),
        ] {
            fs::write(group.join(file), text).expect("written");
        }
        let found = read(folder.path(), "0::/a/b\n").expect("there");
        assert_eq!(
            found,
            Figures {
                cpu_nanoseconds: 1_500_000,
                memory: 4096,
                memory_limit: None,
                block_read: 6,
                block_written: 7,
                pids: 3,
                pids_limit: None,
            }
        );
        assert!(read(folder.path(), "0::/nowhere\n").is_err());
    }

    #[test]
    fn version_one() {
        let folder = tempfile::tempdir().expect("a folder");
        for (controller, file, text) in [
            ("cpuacct", "cpuacct.usage", "77\n"),
            ("memory", "memory.usage_in_bytes", "8192\n"),
            ("memory", "memory.limit_in_bytes", "10000\n"),
            ("pids", "pids.current", "2\n"),
            (
                "blkio",
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
            ),
        ] {
            let group = folder.path().join(controller).join("g");
            fs::create_dir_all(&group).expect("made");
            fs::write(group.join(file), text).expect("written");
        }
        let text = "8:pids:/g\n4:memory:/g\n2:cpuacct:/g\n7:blkio:/g\n0::/\n";
        let found = read(folder.path(), text).expect("there");
        assert_eq!(found.cpu_nanoseconds, 77);
        assert_eq!(found.memory, 8192);
        assert_eq!(found.memory_limit, Some(10_000));
        assert_eq!((found.block_read, found.block_written), (3, 4));
        assert_eq!(found.pids, 2);
    }
}
