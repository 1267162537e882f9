//! What the container may use of the machine, and which network it sees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wishes about limits and networks (compat-runtime sections 14, 21 and 22).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LimitsWish {
    /// A control group with these limits; `None`: stay in the caller's.
    pub resources: Option<Resources>,
    /// Join this network namespace (`--netns-path`).
    pub netns_path: Option<PathBuf>,
    /// Longest run of a command that is started while scripts are evaluated
    /// (`--runscript-timeout`); `None`: the usual minute.
    pub command_timeout: Option<Duration>,
}

/// Limits in the terms of the OCI runtime specification, which are those of `--apply-cgroups`
/// files; numbers mean what they mean for version 1 control groups and are converted where needed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// Processors.
    pub cpu: CpuLimits,
    /// Memory.
    pub memory: MemoryLimits,
    /// Processes.
    pub pids: PidLimits,
    /// Block devices.
    #[serde(rename = "blockIO")]
    pub block_io: BlockIoLimits,
    /// Huge pages.
    #[serde(rename = "hugepageLimits")]
    pub huge_pages: Vec<HugePageLimit>,
    /// Files of version 2 groups and what is written to them.
    pub unified: BTreeMap<String, String>,
    /// Device access rules, in order.
    pub devices: Vec<DeviceRule>,
}

/// `[cpu]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuLimits {
    /// Weight relative to others, 2 to 262144.
    pub shares: Option<u64>,
    /// Microseconds of processor time per period; negative for no limit.
    pub quota: Option<i64>,
    /// Length of a period in microseconds.
    pub period: Option<u64>,
    /// List of processors.
    pub cpus: String,
    /// List of memory nodes.
    pub mems: String,
}

/// `[memory]`, in bytes; -1 for no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryLimits {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit.
    pub reservation: Option<i64>,
    /// Limit of memory and swap together.
    pub swap: Option<i64>,
    /// Eagerness to swap, 0 to 100; version 1 only.
    pub swappiness: Option<u64>,
    /// Do not kill when memory runs out; version 1 only.
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: bool,
}

/// `[pids]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PidLimits {
    /// Most processes; negative for no limit, 0 for none said.
    pub limit: i64,
}

/// `[blockIO]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIoLimits {
    /// Weight relative to others, 10 to 1000.
    pub weight: Option<u16>,
    /// Weight on single devices.
    #[serde(rename = "weightDevice")]
    pub weight_devices: Vec<WeightDevice>,
    /// Bytes per second that are read.
    #[serde(rename = "throttleReadBpsDevice")]
    pub read_bps: Vec<RateDevice>,
    /// Bytes per second that are written.
    #[serde(rename = "throttleWriteBpsDevice")]
    pub write_bps: Vec<RateDevice>,
    /// Reads per second.
    #[serde(rename = "throttleReadIOPSDevice")]
    pub read_iops: Vec<RateDevice>,
    /// Writes per second.
    #[serde(rename = "throttleWriteIOPSDevice")]
    pub write_iops: Vec<RateDevice>,
}

/// Weight on one block device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Weight, 10 to 1000.
    pub weight: Option<u16>,
}

/// Rate on one block device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RateDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Per second.
    pub rate: u64,
}

/// `[[hugepageLimits]]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HugePageLimit {
    /// Such as `2MB`.
    #[serde(alias = "pagesize")]
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// `[[devices]]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRule {
    /// Allowed or denied.
    pub allow: bool,
    /// `a`, `b` or `c`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number, all when absent.
    pub major: Option<i64>,
    /// Minor number, all when absent.
    pub minor: Option<i64>,
    /// Of `r`, `w`, `m`.
    pub access: String,
}
