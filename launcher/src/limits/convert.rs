//! From limits to files of control groups and what is written to them: pure.
//!
//! The numbers of the OCI specification are those of version 1; for version 2 they are converted
//! as OCI runtimes do, so that a file of limits means the same on every machine.

use crate::request::limits::{RateDevice, Resources};

/// Which of the kernel's two kinds of control groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    One,
    Two,
}

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Setting {
    /// Controller, by its name in `cgroup.controllers`.
    pub(super) controller: String,
    /// Names of its file in the group: of several the first that the kernel has.
    pub(super) files: Vec<String>,
    /// Content.
    pub(super) value: String,
    /// A kernel without the file is no failure.
    pub(super) optional: bool,
}

/// Controllers that `resources` need.
pub(super) fn controllers(resources: &Resources) -> Vec<String> {
    let cpu = &resources.cpu;
    let memory = &resources.memory;
    let io = &resources.block_io;
    let mut names = Vec::new();
    let mut add = |wanted: bool, name: &str| {
        if wanted && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    add(
        cpu.shares.is_some_and(|shares| shares != 0) || cpu.quota.is_some() || cpu.period.is_some(),
        "cpu",
    );
    add(!cpu.cpus.is_empty() || !cpu.mems.is_empty(), "cpuset");
    add(
        [memory.limit, memory.reservation, memory.swap]
            .iter()
            .any(|value| value.is_some_and(|value| value != 0))
            || memory.disable_oom_killer
            || memory.swappiness.is_some(),
        "memory",
    );
    add(resources.pids.limit != 0, "pids");
    add(
        io.weight.is_some_and(|weight| weight != 0)
            || !io.weight_devices.is_empty()
            || [&io.read_bps, &io.write_bps, &io.read_iops, &io.write_iops]
                .iter()
                .any(|list| !list.is_empty()),
        "io",
    );
    add(!resources.huge_pages.is_empty(), "hugetlb");
    for file in resources.unified.keys() {
        let controller = file.split('.').next().unwrap_or_default();
        add(controller != "cgroup", controller);
    }
    names
}

/// Name of a controller in version 1.
pub(super) fn old_name(controller: &str) -> &str {
    if controller == "io" {
        "blkio"
    } else {
        controller
    }
}

/// What is written for `controller`.
///
/// # Errors
/// Numbers that contradict each other.
pub(super) fn settings(
    resources: &Resources,
    controller: &str,
    version: Version,
) -> Result<Vec<Setting>, String> {
    let mut list = List {
        controller,
        settings: Vec::new(),
    };
    match (controller, version) {
        ("cpu", _) => cpu(resources, version, &mut list),
        ("cpuset", _) => {
            list.text("cpuset.cpus", &resources.cpu.cpus);
            list.text("cpuset.mems", &resources.cpu.mems);
        }
        ("memory", Version::One) => old_memory(resources, &mut list),
        ("memory", Version::Two) => memory(resources, &mut list)?,
        ("pids", _) => match resources.pids.limit {
            0 => {}
            limit => list.limit("pids.max", limit, "max"),
        },
        ("io", Version::One) => old_io(resources, &mut list),
        ("io", Version::Two) => io(resources, &mut list),
        ("hugetlb", _) => {
            let file = match version {
                Version::One => "limit_in_bytes",
                Version::Two => "max",
            };
            for limit in &resources.huge_pages {
                check(&limit.page_size)?;
                let file = format!("hugetlb.{}.{file}", limit.page_size);
                list.text(&file, &limit.limit.to_string());
            }
        }
        _ => {}
    }
    if version == Version::Two {
        for (file, value) in &resources.unified {
            check(file)?;
            if file.split('.').next() == Some(controller) {
                list.text(file, value);
            }
        }
    }
    Ok(list.settings)
}

/// Refuses names that lead out of the group: those of a file of limits become names of files.
fn check(name: &str) -> Result<(), String> {
    let fits = !name.is_empty() && !name.contains(['/', '|', '\0']) && !name.contains("..");
    if fits {
        Ok(())
    } else {
        Err(format!("{name:?} is no name of a limit"))
    }
}

struct List<'a> {
    controller: &'a str,
    settings: Vec<Setting>,
}

impl List<'_> {
    fn push(&mut self, file: &str, value: String, optional: bool) {
        self.push_either(&[file], value, optional);
    }

    /// For a file that kernels call differently.
    fn push_either(&mut self, files: &[&str], value: String, optional: bool) {
        self.settings.push(Setting {
            controller: self.controller.to_owned(),
            files: files.iter().copied().map(str::to_owned).collect(),
            value,
            optional,
        });
    }

    fn text(&mut self, file: &str, value: &str) {
        if !value.is_empty() {
            self.push(file, value.to_owned(), false);
        }
    }

    fn limit(&mut self, file: &str, limit: i64, none: &str) {
        let value = match limit {
            ..0 => none.to_owned(),
            limit => limit.to_string(),
        };
        self.text(file, &value);
    }
}

fn cpu(resources: &Resources, version: Version, list: &mut List<'_>) {
    let cpu = &resources.cpu;
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        match version {
            Version::One => list.text("cpu.shares", &shares.to_string()),
            Version::Two => list.text("cpu.weight", &cpu_weight(shares).to_string()),
        }
    }
    match version {
        Version::One => {
            if let Some(period) = cpu.period.filter(|&period| period != 0) {
                list.text("cpu.cfs_period_us", &period.to_string());
            }
            if let Some(quota) = cpu.quota.filter(|&quota| quota != 0) {
                list.text("cpu.cfs_quota_us", &quota.to_string());
            }
        }
        Version::Two => {
            let period = cpu.period.filter(|&period| period != 0);
            let quota = cpu.quota.filter(|&quota| quota != 0);
            if quota.is_some() || period.is_some() {
                let most = match quota {
                    Some(quota) if quota > 0 => quota.to_string(),
                    _ => "max".to_owned(),
                };
                let period = period.unwrap_or(DEFAULT_PERIOD);
                list.text("cpu.max", &format!("{most} {period}"));
            }
        }
    }
}

/// The kernel's own, in microseconds.
pub(super) const DEFAULT_PERIOD: u64 = 100_000;

/// `cpu.shares` (2 to 262144) as `cpu.weight` (1 to 10000).
pub(super) fn cpu_weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

fn old_memory(resources: &Resources, list: &mut List<'_>) {
    let memory = &resources.memory;
    let set = |value: Option<i64>| value.filter(|&value| value != 0);
    // The limit without swap can never be above the one with it, so a growing pair starts there;
    // a new group has no limits, which leaves this order.
    if let Some(limit) = set(memory.limit) {
        list.limit("memory.limit_in_bytes", limit, "-1");
    }
    if let Some(swap) = set(memory.swap) {
        list.limit("memory.memsw.limit_in_bytes", swap, "-1");
    }
    if let Some(reservation) = set(memory.reservation) {
        list.limit("memory.soft_limit_in_bytes", reservation, "-1");
    }
    if memory.disable_oom_killer {
        list.text("memory.oom_control", "1");
    }
    if let Some(swappiness) = memory.swappiness {
        list.text("memory.swappiness", &swappiness.to_string());
    }
}

fn memory(resources: &Resources, list: &mut List<'_>) -> Result<(), String> {
    let memory = &resources.memory;
    let limit = memory.limit.unwrap_or(0);
    if let Some(swap) = swap_alone(memory.swap.unwrap_or(0), limit)? {
        // Absent where the kernel does not account for swap; without swap nothing is missed.
        let value = if swap < 0 {
            "max".to_owned()
        } else {
            swap.to_string()
        };
        list.push("memory.swap.max", value, swap <= 0);
    }
    if limit != 0 {
        list.limit("memory.max", limit, "max");
    }
    if let Some(reservation) = memory.reservation.filter(|&value| value != 0) {
        list.limit("memory.low", reservation, "max");
    }
    Ok(())
}

/// Version 1 limits memory and swap together, version 2 swap by itself. `None`: nothing said.
pub(super) fn swap_alone(both: i64, memory: i64) -> Result<Option<i64>, String> {
    match (both, memory) {
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (_, 0 | -1) => Err("unable to set swap limit without memory limit".to_owned()),
        (_, ..0) => Err(format!("invalid memory value: {memory}")),
        _ if both < memory => Err("memory+swap limit should be >= memory limit".to_owned()),
        _ => Ok(Some(both - memory)),
    }
}

fn old_io(resources: &Resources, list: &mut List<'_>) {
    let io = &resources.block_io;
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        list.push_either(
            &["blkio.weight", "blkio.bfq.weight"],
            weight.to_string(),
            false,
        );
    }
    for device in &io.weight_devices {
        if let Some(weight) = device.weight {
            list.push_either(
                &["blkio.weight_device", "blkio.bfq.weight_device"],
                format!("{}:{} {weight}", device.major, device.minor),
                false,
            );
        }
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", &io.read_bps),
        ("blkio.throttle.write_bps_device", &io.write_bps),
        ("blkio.throttle.read_iops_device", &io.read_iops),
        ("blkio.throttle.write_iops_device", &io.write_iops),
    ] {
        for RateDevice { major, minor, rate } in devices {
            list.text(file, &format!("{major}:{minor} {rate}"));
        }
    }
}

fn io(resources: &Resources, list: &mut List<'_>) {
    let io = &resources.block_io;
    if let Some(weight) = io.weight.filter(|&weight| weight != 0) {
        // The BFQ scheduler takes the number as it is.
        list.push("io.bfq.weight", weight.to_string(), true);
        list.push("io.weight", io_weight(weight).to_string(), true);
    }
    for device in &io.weight_devices {
        if let Some(weight) = device.weight {
            list.push(
                "io.bfq.weight",
                format!("{}:{} {weight}", device.major, device.minor),
                false,
            );
        }
    }
    for (key, devices) in [
        ("rbps", &io.read_bps),
        ("wbps", &io.write_bps),
        ("riops", &io.read_iops),
        ("wiops", &io.write_iops),
    ] {
        for RateDevice { major, minor, rate } in devices {
            list.text("io.max", &format!("{major}:{minor} {key}={rate}"));
        }
    }
}

/// A weight of 10 to 1000 as one of 1 to 10000.
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// Rules for devices as version 1 takes them: file and line.
pub(super) fn device_rules(resources: &Resources) -> Vec<(&'static str, String)> {
    resources
        .devices
        .iter()
        .map(|rule| {
            let file = if rule.allow {
                "devices.allow"
            } else {
                "devices.deny"
            };
            let kind = match rule.kind.as_str() {
                "" => "a",
                kind => kind,
            };
            let number = |number: Option<i64>| match number {
                Some(number @ 0..) => number.to_string(),
                _ => "*".to_owned(),
            };
            let access = match rule.access.as_str() {
                "" => "rwm",
                access => access,
            };
            let line = format!(
                "{kind} {}:{} {access}",
                number(rule.major),
                number(rule.minor)
            );
            (file, line)
        })
        .collect()
}

#[cfg(test)]
mod tests;
