//! Figures in Prometheus' text format, for the node exporter's textfile collector and the like.
//!
//! A family's samples stand together below its `HELP` and `TYPE`; one image is one set of labels,
//! with the entry's id, since several versions of an image may have one name. The histogram has no
//! sum: servers count waits by class.

use skiff_cache::disk::Usage;

use super::Report;
use super::figures::{Far, Figures};

/// A family of one sample per image; `None` leaves an image out.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Report) -> Option<u64>,
}

const FAMILIES: &[Family] = &[
    gauge("skiff_image_size_bytes", "Size of the image.", |report| {
        Some(report.size)
    }),
    gauge(
        "skiff_image_cached_bytes",
        "Bytes of the image in the user's cache.",
        |report| report.cache.as_ref().map(|entry| entry.cached),
    ),
    gauge(
        "skiff_image_shared_cached_bytes",
        "Bytes of the image in the node's shared cache.",
        |report| report.shared_cache.as_ref().map(|entry| entry.cached),
    ),
    gauge(
        "skiff_image_pinned",
        "Whether the image stays in the cache until it is unpinned.",
        |report| report.cache.as_ref().map(|entry| u64::from(entry.pinned)),
    ),
    gauge(
        "skiff_image_verified",
        "Whether the whole image was compared with its digest and fits.",
        |report| {
            let entry = report.cache.as_ref()?;
            Some(u64::from(entry.state == "verified"))
        },
    ),
    gauge(
        "skiff_image_mismatch",
        "Whether the whole image was compared with its digest and differs.",
        |report| {
            let entry = report.cache.as_ref()?;
            Some(u64::from(entry.state == "mismatch"))
        },
    ),
    gauge(
        "skiff_server_up",
        "Whether a server of the image is running.",
        |report| Some(u64::from(report.server.is_some())),
    ),
    counter(
        "skiff_server_requests_total",
        "Requests of the kernel that the server took.",
        |report| server(report, |figures| figures.requests),
    ),
    counter(
        "skiff_server_read_bytes_total",
        "Bytes of the image that the server read.",
        |report| server(report, |figures| figures.bytes_read),
    ),
    counter(
        "skiff_cache_hits_total",
        "Reads that the cache answered.",
        |report| far(report, |far| far.hits),
    ),
    counter(
        "skiff_cache_hit_bytes_total",
        "Bytes that the cache answered.",
        |report| far(report, |far| far.hit_bytes),
    ),
    counter(
        "skiff_cache_misses_total",
        "Reads that waited for the origin.",
        |report| far(report, |far| far.misses),
    ),
    counter(
        "skiff_origin_requests_total",
        "Requests to the origin, repeated ones included.",
        |report| far(report, |far| far.requests),
    ),
    counter(
        "skiff_origin_fetched_bytes_total",
        "Bytes of content that came from the origin.",
        |report| far(report, |far| far.bytes_fetched),
    ),
    counter(
        "skiff_origin_retries_total",
        "Requests to the origin that were made again.",
        |report| far(report, |far| far.retries),
    ),
];

const HISTOGRAM: &str = "skiff_origin_wait_seconds";

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&Report) -> Option<u64>,
) -> Family {
    Family {
        name,
        kind: "gauge",
        help,
        value,
    }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&Report) -> Option<u64>,
) -> Family {
    Family {
        name,
        kind: "counter",
        help,
        value,
    }
}

fn server(report: &Report, value: fn(&Figures) -> u64) -> Option<u64> {
    report.server.as_ref().map(value)
}

fn far(report: &Report, value: fn(&Far) -> u64) -> Option<u64> {
    report.server.as_ref()?.cache.as_ref().map(value)
}

/// All families that have samples.
pub(super) fn exposition(reports: &[Report], usage: Option<&Usage>) -> String {
    let mut text = String::new();
    if let Some(usage) = usage {
        for (name, help, value) in [
            (
                "skiff_cache_used_bytes",
                "Disk space that the cache takes.",
                usage.used,
            ),
            (
                "skiff_cache_quota_bytes",
                "Disk space that the cache may take.",
                usage.quota,
            ),
            (
                "skiff_cache_disk_free_bytes",
                "Free space on the cache's disk.",
                usage.free,
            ),
        ] {
            head(&mut text, name, "gauge", help);
            text.push_str(&format!("{name} {value}\n"));
        }
    }
    for family in FAMILIES {
        let samples: Vec<String> = reports
            .iter()
            .filter_map(|report| {
                let value = (family.value)(report)?;
                Some(format!("{}{{{}}} {value}\n", family.name, labels(report)))
            })
            .collect();
        if !samples.is_empty() {
            head(&mut text, family.name, family.kind, family.help);
            text.push_str(&samples.concat());
        }
    }
    let buckets: String = reports.iter().filter_map(histogram).collect();
    if !buckets.is_empty() {
        let help = "How long reads waited for the origin.";
        head(&mut text, HISTOGRAM, "histogram", help);
        text.push_str(&buckets);
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn labels(report: &Report) -> String {
    let mut labels = format!("image=\"{}\"", escaped(&report.image));
    if let Some(id) = &report.id {
        labels.push_str(&format!(",id=\"{}\"", escaped(id)));
    }
    labels
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn histogram(report: &Report) -> Option<String> {
    let far = report.server.as_ref()?.cache.as_ref()?;
    let labels = labels(report);
    let mut text = String::new();
    let mut sum = 0_u64;
    for (end, count) in far.latency_ms_upper.iter().zip(&far.latency_counts) {
        sum = sum.saturating_add(*count);
        text.push_str(&format!(
            "{HISTOGRAM}_bucket{{{labels},le=\"{}\"}} {sum}\n",
            seconds(*end)
        ));
    }
    let total = far.waits();
    text.push_str(&format!(
        "{HISTOGRAM}_bucket{{{labels},le=\"+Inf\"}} {total}\n{HISTOGRAM}_count{{{labels}}} {total}\n"
    ));
    Some(text)
}

/// Milliseconds as a decimal number of seconds.
fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
