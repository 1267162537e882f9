//! A scope of systemd: a control group that it makes, knows by name and removes when it is empty.

use std::path::Path;
use std::time::{Duration, Instant};

use super::LimitsPlan;
use super::cgroupfs::{self, Machine};
use super::convert::{self, DEFAULT_PERIOD};
use super::dbus::{Bus, Call, Encoder};
use crate::error::reason;
use crate::request::limits::Resources;

/// Where the machine's own bus listens.
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// How long systemd may take to move us.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks the manager of the session, or of the machine for root, for a scope with the calling
/// process in it, and writes to its files what systemd has no word for.
pub(super) fn enter(plan: &LimitsPlan, machine: &Machine) -> Result<(), String> {
    let uid = rustix::process::getuid().as_raw();
    let system = [SYSTEM_BUS.to_owned()];
    let addresses = if plan.root { &system[..] } else { &plan.buses };
    let mut bus = connect(addresses, uid)?;
    let pid = std::process::id();
    let unit = format!("skiff-{pid}-{:x}.scope", nanoseconds());
    let body = scope(&unit, plan, pid)?;
    bus.call(Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StartTransientUnit",
        signature: "ssa(sv)a(sa(sv))",
        body: &body,
    })
    .map_err(|error| format!("systemd did not start {unit}: {}", reason(&error)))?;
    // The answer says that the job is queued; where we are says that it is done.
    let begin = Instant::now();
    let group = loop {
        let group = machine.own_group()?;
        if group.file_name().is_some_and(|name| *name == *unit) {
            break group;
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("systemd did not start {unit} in time"));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    cgroupfs::limit(&group, &plan.resources)
}

/// Has the calling process put into a scope that exists.
pub(super) fn attach(unit: &str, plan: &LimitsPlan) -> Result<(), String> {
    let uid = rustix::process::getuid().as_raw();
    let system = [SYSTEM_BUS.to_owned()];
    let addresses = if plan.root { &system[..] } else { &plan.buses };
    let mut body = Encoder::default();
    body.string(unit);
    body.string("");
    body.array(4, |body| body.u32(std::process::id()));
    connect(addresses, uid)?
        .call(Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "AttachProcessesToUnit",
            signature: "ssau",
            body: &body.0,
        })
        .map_err(|error| format!("systemd did not let us into {unit}: {}", reason(&error)))
}

fn connect(addresses: &[String], uid: u32) -> Result<Bus, String> {
    let mut last = String::from("its address is not known");
    for address in addresses {
        match Bus::connect(address, uid) {
            Ok(bus) => return Ok(bus),
            Err(error) => last = format!("{address}: {}", reason(&error)),
        }
    }
    Err(format!(
        "while creating cgroup manager: failed to connect to dbus (hint: for rootless containers, \
         maybe you need to install dbus-user-session package): {last}"
    ))
}

fn nanoseconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec
}

/// The body of the call.
fn scope(unit: &str, plan: &LimitsPlan, pid: u32) -> Result<Vec<u8>, String> {
    let mut out = Encoder::default();
    out.string(unit);
    out.string("replace");
    let numbers = numbers(&plan.resources)?;
    out.array(8, |out| {
        property(out, "Description", "s", |out| out.string("skiff container"));
        let slice = if plan.root {
            "system.slice"
        } else {
            "user.slice"
        };
        property(out, "Slice", "s", |out| out.string(slice));
        property(out, "PIDs", "au", |out| out.array(4, |out| out.u32(pid)));
        for name in [
            "Delegate",
            "CPUAccounting",
            "MemoryAccounting",
            "IOAccounting",
            "TasksAccounting",
        ] {
            property(out, name, "b", |out| out.u32(1));
        }
        property(out, "DefaultDependencies", "b", |out| out.u32(0));
        property(out, "CollectMode", "s", |out| {
            out.string("inactive-or-failed");
        });
        for (name, value) in &numbers {
            property(out, name, "t", |out| out.u64(*value));
        }
        for (name, list) in [
            ("AllowedCPUs", &plan.resources.cpu.cpus),
            ("AllowedMemoryNodes", &plan.resources.cpu.mems),
        ] {
            if let Some(mask) = mask(list).filter(|mask| !mask.is_empty()) {
                property(out, name, "ay", |out| {
                    out.array(1, |out| out.0.extend(mask));
                });
            }
        }
    });
    out.array(8, |_| {});
    Ok(out.0)
}

fn property(out: &mut Encoder, name: &str, kind: &str, value: impl FnOnce(&mut Encoder)) {
    out.align(8);
    out.string(name);
    out.signature(kind);
    value(out);
}

/// What systemd has properties for, so that it hands the controllers down and keeps the values when
/// it is reloaded.
fn numbers(resources: &Resources) -> Result<Vec<(&'static str, u64)>, String> {
    let mut found = Vec::new();
    let unlimited = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let set = |value: Option<i64>| value.filter(|&value| value != 0);
    if let Some(shares) = resources.cpu.shares.filter(|&shares| shares != 0) {
        found.push(("CPUWeight", convert::cpu_weight(shares)));
    }
    if let Some(quota) = set(resources.cpu.quota) {
        let period = resources.cpu.period.filter(|&period| period != 0);
        let period = period.unwrap_or(DEFAULT_PERIOD);
        found.push(("CPUQuotaPeriodUSec", period));
        // Only hundredths of a processor are kept.
        let per_second = u64::try_from(quota).map_or(u64::MAX, |quota| {
            quota
                .saturating_mul(1_000_000)
                .div_ceil(period)
                .next_multiple_of(10_000)
        });
        found.push(("CPUQuotaPerSecUSec", per_second));
    }
    let memory = &resources.memory;
    if let Some(limit) = set(memory.limit) {
        found.push(("MemoryMax", unlimited(limit)));
    }
    if let Some(low) = set(memory.reservation) {
        found.push(("MemoryLow", unlimited(low)));
    }
    if let Some(swap) = convert::swap_alone(memory.swap.unwrap_or(0), memory.limit.unwrap_or(0))? {
        found.push(("MemorySwapMax", unlimited(swap)));
    }
    if resources.pids.limit != 0 {
        found.push(("TasksMax", unlimited(resources.pids.limit)));
    }
    if let Some(weight) = resources.block_io.weight.filter(|&weight| weight != 0) {
        found.push(("IOWeight", convert::io_weight(weight)));
    }
    Ok(found)
}

/// Highest number of a processor or memory node that is believed.
const MAX_NUMBER: usize = 1 << 16;

/// `0-2,5` as bits; `None` where it is no such list, which the kernel will say better.
fn mask(list: &str) -> Option<Vec<u8>> {
    let mut bits: Vec<u8> = Vec::new();
    for item in list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if first > last || last > MAX_NUMBER {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0);
        }
        for number in first..=last {
            if let Some(byte) = bits.get_mut(number / 8) {
                *byte |= 1 << (number % 8);
            }
        }
    }
    Some(bits)
}

/// Whether systemd runs this machine.
pub(super) fn is_init() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(mask(""), Some(vec![]));
        assert_eq!(mask("0"), Some(vec![1]));
        assert_eq!(mask("0-2, 9"), Some(vec![0b111, 0b10]));
        assert_eq!(mask("2-1"), None);
        assert_eq!(mask("x"), None);
        assert_eq!(mask("0-99999999"), None);
    }

    #[test]
    fn properties() {
        let mut resources = Resources::default();
        assert_eq!(numbers(&resources), Ok(vec![]));
        resources.cpu.shares = Some(1024);
        resources.cpu.quota = Some(150_000);
        resources.memory.limit = Some(100);
        resources.memory.swap = Some(-1);
        resources.pids.limit = -1;
        assert_eq!(
            numbers(&resources),
            Ok(vec![
                ("CPUWeight", 39),
                ("CPUQuotaPeriodUSec", 100_000),
                ("CPUQuotaPerSecUSec", 1_500_000),
                ("MemoryMax", 100),
                ("MemorySwapMax", u64::MAX),
                ("TasksMax", u64::MAX),
            ])
        );
        resources.memory.swap = Some(50);
        assert!(numbers(&resources).is_err());
    }
}
