//! Flags of [`crate::cli::action::limits`] become a wish.

mod values;

use std::path::{Path, PathBuf};

use skiff_launcher::limits::file;
use skiff_launcher::request::limits::{
    BlockIoLimits, CpuLimits, LimitsWish, MemoryLimits, PidLimits, Resources,
};

use crate::cli::action::limits::LimitsArgs;
use crate::cli::value::Strings;

/// The wish behind `args`.
///
/// # Errors
/// One line about the value that cannot be used.
pub(super) fn build(args: &LimitsArgs) -> anyhow::Result<LimitsWish> {
    Ok(LimitsWish {
        resources: resources(args)?,
        netns_path: args
            .netns_path
            .as_ref()
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        command_timeout: args
            .runscript_timeout
            .as_deref()
            .map(values::timeout)
            .transpose()?,
    })
}

/// The limits of the flags or of the file; `None` where nothing is limited. In Apptainer's order,
/// so that of two mistakes the same is reported.
fn resources(args: &LimitsArgs) -> anyhow::Result<Option<Resources>> {
    let file = args.apply_cgroups.as_ref().filter(|path| !path.is_empty());
    let flags = Resources {
        block_io: block_io(args)?,
        cpu: cpu(args)?,
        memory: memory(args)?,
        pids: pids(args)?,
        ..Resources::default()
    };
    let limited = flags != Resources::default();
    match file {
        Some(_) if limited => {
            anyhow::bail!("cannot apply a cgroups TOML file while using limit flags")
        }
        Some(path) => Ok(Some(
            file::read(Path::new(path)).map_err(anyhow::Error::msg)?,
        )),
        None => Ok(limited.then_some(flags)),
    }
}

fn cpu(args: &LimitsArgs) -> anyhow::Result<CpuLimits> {
    let mut limits = CpuLimits {
        shares: args
            .cpu_shares
            .and_then(|shares| u64::try_from(shares).ok())
            .filter(|&shares| shares > 0),
        cpus: args.cpuset_cpus.clone().unwrap_or_default(),
        mems: args.cpuset_mems.clone().unwrap_or_default(),
        ..CpuLimits::default()
    };
    if let Some(text) = args.cpus.as_deref().filter(|text| !text.is_empty()) {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        limits.quota = Some(values::cpus(text, available)?);
        limits.period = Some(values::PERIOD);
    }
    Ok(limits)
}

fn memory(args: &LimitsArgs) -> anyhow::Result<MemoryLimits> {
    let size = |name: &str, text: &Option<String>| -> anyhow::Result<Option<i64>> {
        text.as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| {
                values::size(text)
                    .map_err(|reason| anyhow::anyhow!("invalid {name} value: {reason}"))
            })
            .transpose()
    };
    Ok(MemoryLimits {
        limit: size("memory", &args.memory)?,
        reservation: size("memory-reservation", &args.memory_reservation)?,
        swap: if args.memory_swap.as_deref() == Some("-1") {
            Some(-1)
        } else {
            size("memory-swap", &args.memory_swap)?
        },
        swappiness: None,
        disable_oom_killer: args.oom_kill_disable,
    })
}

fn pids(args: &LimitsArgs) -> anyhow::Result<PidLimits> {
    let limit = args.pids_limit.unwrap_or(0);
    if limit < -1 {
        anyhow::bail!("invalid pids-limit: {limit} (at least 1, or -1 for no limit)");
    }
    Ok(PidLimits { limit })
}

fn block_io(args: &LimitsArgs) -> anyhow::Result<BlockIoLimits> {
    let weight = match args.blkio_weight.unwrap_or(0) {
        ..=0 => None,
        weight @ 10..=1000 => u16::try_from(weight).ok(),
        _ => anyhow::bail!("blkio-weight must be in range 10-1000"),
    };
    Ok(BlockIoLimits {
        weight,
        weight_devices: Strings::flatten(&args.blkio_weight_device)
            .map(|item| values::weight_device(item))
            .collect::<anyhow::Result<_>>()?,
        ..BlockIoLimits::default()
    })
}
