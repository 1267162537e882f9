use super::*;
use crate::request::limits::{
    BlockIoLimits, CpuLimits, DeviceRule, HugePageLimit, MemoryLimits, PidLimits, WeightDevice,
};

fn lines(resources: &Resources, version: Version) -> Vec<String> {
    controllers(resources)
        .iter()
        .flat_map(|controller| settings(resources, controller, version).expect("sound"))
        .map(|setting| format!("{}={}", setting.files.join("|"), setting.value))
        .collect()
}

#[test]
fn weights() {
    assert_eq!(cpu_weight(0), 1);
    assert_eq!(cpu_weight(2), 1);
    assert_eq!(cpu_weight(1024), 39);
    assert_eq!(cpu_weight(262_144), 10_000);
    assert_eq!(cpu_weight(u64::MAX), 10_000);
    assert_eq!(io_weight(10), 1);
    assert_eq!(io_weight(1000), 10_000);
}

#[test]
fn processors() {
    let resources = Resources {
        cpu: CpuLimits {
            shares: Some(1024),
            quota: Some(150_000),
            period: Some(100_000),
            cpus: "0".to_owned(),
            mems: String::new(),
        },
        ..Resources::default()
    };
    assert_eq!(controllers(&resources), ["cpu", "cpuset"]);
    assert_eq!(
        lines(&resources, Version::Two),
        ["cpu.weight=39", "cpu.max=150000 100000", "cpuset.cpus=0"]
    );
    assert_eq!(
        lines(&resources, Version::One),
        [
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=150000",
            "cpuset.cpus=0"
        ]
    );
}

#[test]
fn memory_and_swap() {
    assert_eq!(swap_alone(0, 0), Ok(None));
    assert_eq!(swap_alone(0, 100), Ok(None));
    assert_eq!(swap_alone(0, -1), Ok(Some(-1)));
    assert_eq!(swap_alone(-1, 100), Ok(Some(-1)));
    assert_eq!(swap_alone(300, 100), Ok(Some(200)));
    assert_eq!(swap_alone(100, 100), Ok(Some(0)));
    assert!(swap_alone(50, 100).is_err());
    assert!(swap_alone(50, 0).is_err());
    let resources = Resources {
        memory: MemoryLimits {
            limit: Some(100),
            reservation: Some(50),
            swap: Some(300),
            disable_oom_killer: true,
            ..MemoryLimits::default()
        },
        ..Resources::default()
    };
    assert_eq!(
        lines(&resources, Version::Two),
        ["memory.swap.max=200", "memory.max=100", "memory.low=50"]
    );
    assert_eq!(
        lines(&resources, Version::One),
        [
            "memory.limit_in_bytes=100",
            "memory.memsw.limit_in_bytes=300",
            "memory.soft_limit_in_bytes=50",
            "memory.oom_control=1"
        ]
    );
}

#[test]
fn nothing_asked_for_is_nothing_written() {
    let mut resources = Resources::default();
    assert!(controllers(&resources).is_empty());
    resources.memory.limit = Some(0);
    resources.cpu.shares = Some(0);
    assert!(controllers(&resources).is_empty());
    assert!(lines(&resources, Version::Two).is_empty());
}

#[test]
fn processes_devices_and_pages() {
    let resources = Resources {
        pids: PidLimits { limit: -1 },
        block_io: BlockIoLimits {
            weight: Some(500),
            weight_devices: vec![WeightDevice {
                major: 8,
                minor: 16,
                weight: Some(20),
            }],
            read_bps: vec![RateDevice {
                major: 8,
                minor: 0,
                rate: 7,
            }],
            ..BlockIoLimits::default()
        },
        huge_pages: vec![HugePageLimit {
            page_size: "2MB".to_owned(),
            limit: 4_194_304,
        }],
        unified: [
            ("memory.high", "9"),
            ("cgroup.max.depth", "3"),
            ("hugetlb.1GB.max", "0"),
        ]
        .into_iter()
        .map(|(file, value)| (file.to_owned(), value.to_owned()))
        .collect(),
        ..Resources::default()
    };
    assert_eq!(controllers(&resources), ["pids", "io", "hugetlb", "memory"]);
    assert_eq!(
        lines(&resources, Version::Two),
        [
            "pids.max=max",
            "io.bfq.weight=500",
            "io.weight=4950",
            "io.bfq.weight=8:16 20",
            "io.max=8:0 rbps=7",
            "hugetlb.2MB.max=4194304",
            "hugetlb.1GB.max=0",
            "memory.high=9",
        ]
    );
    assert_eq!(
        lines(&resources, Version::One),
        [
            "pids.max=max",
            "blkio.weight|blkio.bfq.weight=500",
            "blkio.weight_device|blkio.bfq.weight_device=8:16 20",
            "blkio.throttle.read_bps_device=8:0 7",
            "hugetlb.2MB.limit_in_bytes=4194304",
        ]
    );
}

#[test]
fn device_access() {
    let resources = Resources {
        devices: vec![
            DeviceRule {
                access: "rwm".to_owned(),
                ..DeviceRule::default()
            },
            DeviceRule {
                allow: true,
                kind: "c".to_owned(),
                major: Some(1),
                minor: Some(3),
                access: "rw".to_owned(),
            },
        ],
        ..Resources::default()
    };
    assert_eq!(
        device_rules(&resources),
        [
            ("devices.deny", "a *:* rwm".to_owned()),
            ("devices.allow", "c 1:3 rw".to_owned())
        ]
    );
}

#[test]
fn names_stay_in_the_group() {
    for name in [
        "",
        "../x",
        "memory.max|/home/u/.bashrc",
        "memory./etc/x",
        "memory...",
        "/etc/x",
        "memory.x\0y",
    ] {
        let unified = [(name.to_owned(), "1".to_owned())].into_iter().collect();
        let resources = Resources {
            unified,
            ..Resources::default()
        };
        let error = settings(&resources, "memory", Version::Two).unwrap_err();
        assert!(error.contains("no name of a limit"), "{error}");
        let resources = Resources {
            huge_pages: vec![HugePageLimit {
                page_size: name.to_owned(),
                limit: 1,
            }],
            ..Resources::default()
        };
        for version in [Version::One, Version::Two] {
            assert!(settings(&resources, "hugetlb", version).is_err(), "{name}");
        }
    }
}
