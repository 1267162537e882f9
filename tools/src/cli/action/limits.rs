//! Flags: what the container may use of the machine, and which network it sees.

use std::ffi::OsString;

use clap::Args;

use crate::cli::value::{Strings, int_parser};

/// Wishes about limits and networks (compat-runtime sections 14, 21 and 22).
#[derive(Args, Clone, Debug, Default)]
pub struct LimitsArgs {
    /// Limits from a TOML file, as for OCI runtimes; not together with the flags below
    #[arg(long, value_name = "string")]
    pub apply_cgroups: Option<OsString>,
    /// Number of CPUs, such as 1.5
    #[arg(long, value_name = "string")]
    pub cpus: Option<String>,
    /// Weight of the container's CPU time relative to others, -1 for the usual
    #[arg(long, value_name = "int", value_parser = int_parser())]
    pub cpu_shares: Option<i64>,
    /// CPUs the container may use, such as 0-3,7
    #[arg(long, value_name = "string")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes the container may use, such as 0
    #[arg(long, value_name = "string")]
    pub cpuset_mems: Option<String>,
    /// Memory limit in bytes, or with a suffix such as 512M or 2G
    #[arg(long, value_name = "string")]
    pub memory: Option<String>,
    /// Memory that others are made to give back first, in bytes or with a suffix
    #[arg(long, value_name = "string")]
    pub memory_reservation: Option<String>,
    /// Limit of memory and swap together, in bytes or with a suffix, -1 for no limit
    #[arg(long, value_name = "string")]
    pub memory_swap: Option<String>,
    /// Do not kill when memory runs out (version 1 of control groups only)
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Number of processes and threads, -1 for no limit
    #[arg(long, value_name = "int", value_parser = int_parser())]
    pub pids_limit: Option<i64>,
    /// Weight of block I/O relative to others, 10-1000; 0 for the usual
    #[arg(long, value_name = "int", value_parser = int_parser())]
    pub blkio_weight: Option<i64>,
    /// Weight of block I/O on one device, <device>:<weight>
    #[arg(long, value_name = "strings")]
    pub blkio_weight_device: Vec<Strings>,
    /// Arguments for CNI plugins; networks that take any are not supported
    #[arg(long, value_name = "strings")]
    pub network_args: Vec<Strings>,
    /// Join the network namespace at this path (root, or as configured)
    #[arg(long, value_name = "string")]
    pub netns_path: Option<OsString>,
    /// `--runscript-timeout`, a flag of `run` alone.
    #[arg(skip)]
    pub runscript_timeout: Option<String>,
}
