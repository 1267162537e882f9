//! The three forms, from the same figures.

use super::figures::Far;
use super::*;

fn report() -> Report {
    let figures = r#"{"requests": 9, "image_bytes": 5, "bytes_read": 2048, "cache": {"hits": 7,
        "hit_bytes": 1024, "misses": 3, "requests": 2, "bytes_fetched": 4096, "retries": 1,
        "latency_ms_upper": [1, 2, 10000], "latency_counts": [1, 0, 1, 2], "new": 1}}"#;
    Report {
        image: "https://host/a\"b\\c\nd.sif".to_owned(),
        id: Some("ab12".to_owned()),
        size: 1 << 20,
        cache: Some(Entry {
            cached: 1 << 19,
            share_percent: 50,
            pinned: true,
            state: "verified",
            last_use_ms: 5,
        }),
        shared_cache: None,
        server: Some(serde_json::from_str(figures).unwrap()),
    }
}

#[test]
fn people() {
    assert_eq!(
        text::page(&[report()]),
        "https://host/a\"b\\c?d.sif\n  \
           size      1.00 MiB\n  \
           cached    512.00 KiB (50%), verified, pinned\n  \
           server    9 requests of the kernel, 2.00 KiB of the image read\n  \
           cache     7 hits (1.00 KiB), 3 misses\n  \
           network   2 requests, 4.00 KiB fetched, 1 retries\n  \
           waits     half below 10000 ms, 9 of 10 10000 ms or more, all 10000 ms or more\n"
    );
    let idle = Report {
        server: None,
        cache: None,
        ..report()
    };
    assert!(text::page(&[idle]).ends_with("  size      1.00 MiB\n  server    not running\n"));
}

#[test]
fn programs() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["server"]["cache"]["bytes_fetched"], 4096);
    assert_eq!(json["cache"]["share_percent"], 50);
    assert!(json["shared_cache"].is_null());
}

#[test]
fn percentiles() {
    let far = Far {
        latency_ms_upper: vec![1, 2],
        latency_counts: vec![8, 1, 1],
        ..Far::default()
    };
    assert_eq!(far.percentile(50), Some(Some(1)));
    assert_eq!(far.percentile(90), Some(Some(2)));
    assert_eq!(far.percentile(100), Some(None));
    assert_eq!(Far::default().percentile(50), None);
}

#[test]
fn exposition_is_well_formed() {
    let other = Report {
        id: None,
        image: "/a.sif".to_owned(),
        server: None,
        cache: None,
        ..report()
    };
    let text = prometheus::exposition(&[report(), other], Some(&Default::default()));
    let label = "image=\"https://host/a\\\"b\\\\c\\nd.sif\",id=\"ab12\"";
    for line in [
        format!("skiff_image_size_bytes{{{label}}} 1048576"),
        "skiff_server_up{image=\"/a.sif\"} 0".to_owned(),
        format!("skiff_cache_hits_total{{{label}}} 7"),
        format!("skiff_origin_wait_seconds_bucket{{{label},le=\"0.001\"}} 1"),
        format!("skiff_origin_wait_seconds_bucket{{{label},le=\"10\"}} 2"),
        format!("skiff_origin_wait_seconds_bucket{{{label},le=\"+Inf\"}} 4"),
        format!("skiff_origin_wait_seconds_count{{{label}}} 4"),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    // Every family has its two lines once, before its samples and next to them.
    let mut seen = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(!seen.contains(&current), "{line}");
            seen.push(current.clone());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next().unwrap(), current);
        } else {
            assert!(line.starts_with(&current), "{line}");
        }
    }
    assert_eq!(prometheus::exposition(&[], None), "");
}
