//! `instance stats`: what an instance uses, once or every second.

use std::time::{Duration, Instant};

use serde_json::json;
use skiff_launcher::limits::{Figures, figures};

use super::{folder_of, matching};
use crate::cli::Context;
use crate::cli::instance::StatsArgs;
use crate::commands::cache::list::plain;
use crate::exit::{CommandError, ExitStatus};
use crate::output;

/// Pause between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// How long processor time is watched before the first one.
const GLANCE: Duration = Duration::from_millis(200);

const HEADER: [&str; 6] = [
    "INSTANCE NAME",
    "CPU USAGE",
    "MEM USAGE / LIMIT",
    "MEM %",
    "BLOCK I/O",
    "PIDS",
];

/// `instance stats NAME`
///
/// # Errors
/// There is no such instance, it is another user's, or it has no control group of its own.
pub fn stats(args: &StatsArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let folder = folder_of(args.user.as_deref(), "view stats of", context)?;
    let name = args.words.first().map(|word| word.to_string_lossy());
    let found = matching(&folder, name.as_deref().unwrap_or_default(), true)?;
    let Some(live) = found.first() else {
        return Err(CommandError("no instance found".to_owned()).into());
    };
    output::info(format_args!(
        "Stats for {} instance of {} (PID={})",
        live.record.name,
        plain(&live.record.image),
        live.record.pid
    ));
    let pid = live.record.pid;
    let Ok(mut before) = figures::of(pid) else {
        return Err(CommandError(
            "stats are only available if cgroups are enabled, see the Apptainer instance user \
             guide for instructions"
                .to_owned(),
        )
        .into());
    };
    let mut then = Instant::now();
    let mut pause = GLANCE;
    loop {
        std::thread::sleep(pause);
        // The instance has ended.
        let Ok(figures) = figures::of(pid) else {
            return Ok(ExitStatus::Success);
        };
        let text = if args.json {
            json(&figures)?
        } else {
            let share = share(&before, &figures, then.elapsed());
            table(&[
                HEADER.map(str::to_owned),
                row(&live.record.name, &figures, share),
            ])
        };
        if !output::stdout_goes_on(text)? || args.no_stream {
            return Ok(ExitStatus::Success);
        }
        (before, then, pause) = (figures, Instant::now(), PAUSE);
    }
}

/// Percent of one processor.
fn share(before: &Figures, now: &Figures, elapsed: Duration) -> f64 {
    let used = now.cpu_nanoseconds.saturating_sub(before.cpu_nanoseconds);
    Duration::from_nanos(used).as_secs_f64() / elapsed.as_secs_f64().max(1e-9) * 100.0
}

/// The machine's memory, where there is no other limit.
fn memory_of_the_machine() -> u64 {
    std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .map_or(u64::MAX, |kib| kib.saturating_mul(1024))
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn row(name: &str, figures: &Figures, share: f64) -> [String; 6] {
    let limit = figures.memory_limit.unwrap_or_else(memory_of_the_machine);
    let part = figures.memory as f64 / limit.max(1) as f64 * 100.0;
    [
        name.to_owned(),
        format!("{share:.2}%"),
        format!("{} / {}", size(figures.memory), size(limit)),
        format!("{part:.2}%"),
        format!(
            "{} / {}",
            size(figures.block_read),
            size(figures.block_written)
        ),
        figures.pids.to_string(),
    ]
}

/// Bytes with four digits: `9.895MiB`.
#[expect(clippy::cast_precision_loss, reason = "four digits for people")]
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", UNITS.get(unit).unwrap_or(&""))
}

/// Columns four spaces apart.
fn table(rows: &[[String; 6]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{cell:<0$}", width(column) + 4));
            }
        }
        text.push('\n');
    }
    text
}

/// The figures under the names that OCI runtimes give them.
fn json(figures: &Figures) -> anyhow::Result<String> {
    let value = json!({
        "cpu_stats": {"cpu_usage": {"total_usage": figures.cpu_nanoseconds}},
        "memory_stats": {"usage": {
            "usage": figures.memory,
            "limit": figures.memory_limit.unwrap_or_else(memory_of_the_machine),
        }},
        "pids_stats": {
            "current": figures.pids,
            "limit": figures.pids_limit.unwrap_or(0),
        },
        "blkio_stats": {"io_service_bytes_recursive": [
            {"op": "Read", "value": figures.block_read},
            {"op": "Write", "value": figures.block_written},
        ]},
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (10_375_168, "9.895MiB"),
            (104_857_600, "100MiB"),
            (3 << 29, "1.5GiB"),
            (1 << 63, "8EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_table_is_apptainers() {
        let figures = Figures {
            memory: 10_375_168,
            memory_limit: Some(104_857_600),
            pids: 9,
            ..Figures::default()
        };
        assert_eq!(
            table(&[HEADER.map(str::to_owned), row("rl1", &figures, 0.0)]),
            "INSTANCE NAME    CPU USAGE    MEM USAGE / LIMIT    MEM %    BLOCK I/O    PIDS\n\
             rl1              0.00%        9.895MiB / 100MiB    9.89%    0B / 0B      9\n"
        );
    }
}
