//! The name that a pulled image's file gets.

/// The file for the image called `uri`, which has a scheme.
pub(super) fn of(uri: &str) -> String {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let rest = rest.trim_start_matches('/');
    let last = rest.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    if matches!(scheme, "http" | "https") {
        let last = last.split(['?', '#']).next().unwrap_or_default();
        return last.to_owned();
    }
    let (name, tag) = match last.split_once(':') {
        Some((name, tag)) => {
            // Of several tags the first, and of a digest behind a tag no more than its algorithm.
            let tag = tag.split([',', ':']).next().unwrap_or_default();
            (name, tag)
        }
        None => (last, ""),
    };
    let tag = if tag.is_empty() { "latest" } else { tag };
    let tag = match (name.contains('@'), last.split_once(':')) {
        (true, Some((_, whole))) if !whole.is_empty() => whole,
        _ => tag,
    };
    format!("{name}_{tag}.sif")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (uri, file) in [
            ("docker://ubuntu:22.04", "ubuntu_22.04.sif"),
            ("docker://ghcr.io/a/b", "b_latest.sif"),
            ("docker://u@sha256:abc", "u@sha256_abc.sif"),
            ("docker://u:1@sha256:abc", "u_1@sha256.sif"),
            ("docker://127.0.0.1:5000/x/y:1", "y_1.sif"),
            ("oras://host/e/n:t", "n_t.sif"),
            ("library://e/c/n:t1,t2", "n_t1.sif"),
            ("oci:lay", "lay_latest.sif"),
            ("oci:/a/lay/", "lay_latest.sif"),
            ("oci-archive:a.tar", "a.tar_latest.sif"),
            ("https://h/a/b.sif?x=1", "b.sif"),
        ] {
            assert_eq!(of(uri), file, "{uri}");
        }
    }
}
