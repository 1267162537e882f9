//! Figures for people.

use super::figures::{Far, Figures};
use super::{Entry, Report};
use crate::commands::cache::list::plain;
use crate::commands::cache::show::size;

pub(super) fn page(reports: &[Report]) -> String {
    if reports.is_empty() {
        return "The cache is empty\n".to_owned();
    }
    let parts: Vec<String> = reports.iter().map(paragraph).collect();
    parts.join("\n")
}

fn paragraph(report: &Report) -> String {
    let mut rows = vec![("size", size(report.size))];
    for (name, entry) in [("cached", &report.cache), ("shared", &report.shared_cache)] {
        if let Some(entry) = entry {
            rows.push((name, entry_text(entry)));
        }
    }
    match &report.server {
        Some(figures) => server_rows(figures, &mut rows),
        None => rows.push(("server", "not running".to_owned())),
    }
    let mut text = format!("{}\n", plain(&report.image));
    for (name, value) in rows {
        text.push_str(&format!("  {name:<9} {value}\n"));
    }
    text
}

fn entry_text(entry: &Entry) -> String {
    let pin = if entry.pinned { ", pinned" } else { "" };
    format!(
        "{} ({}%), {}{pin}",
        size(entry.cached),
        entry.share_percent,
        entry.state
    )
}

fn server_rows(figures: &Figures, rows: &mut Vec<(&str, String)>) {
    rows.push((
        "server",
        format!(
            "{} requests of the kernel, {} of the image read",
            figures.requests,
            size(figures.bytes_read)
        ),
    ));
    let Some(far) = &figures.cache else { return };
    rows.push((
        "cache",
        format!(
            "{} hits ({}), {} misses",
            far.hits,
            size(far.hit_bytes),
            far.misses
        ),
    ));
    rows.push((
        "network",
        format!(
            "{} requests, {} fetched, {} retries",
            far.requests,
            size(far.bytes_fetched),
            far.retries
        ),
    ));
    if let Some(waits) = waits(far) {
        rows.push(("waits", waits));
    }
}

fn waits(far: &Far) -> Option<String> {
    let mut parts = Vec::new();
    for (name, hundredths) in [("half", 50), ("9 of 10", 90), ("all", 100)] {
        let bound = match far.percentile(hundredths)? {
            Some(end) => format!("below {end} ms"),
            None => format!(
                "{} ms or more",
                far.latency_ms_upper.last().copied().unwrap_or(0)
            ),
        };
        parts.push(format!("{name} {bound}"));
    }
    Some(parts.join(", "))
}
