//! A small real Debian with apt, made once by mmdebstrap from the mirror that this machine uses.

use std::path::PathBuf;

use crate::command::Cmd;
use crate::image::{digest, keep};
use crate::user::ordinary;

/// Prints the suite that this machine runs, and the mirror that its packages come from.
const MIRROR: &str = r#"set -e
. /etc/os-release
mirror=$(awk '$1 == "URIs:" && $2 ~ /\/debian\/?$/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\/.*\/debian\/?$/) {print $i; exit}}' \
  /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true)
echo "$VERSION_CODENAME $mirror"
"#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Suite of this machine's Debian, and the mirror, if its list of sources names one.
///
/// # Panics
/// When it is no Debian.
pub fn suite_and_mirror() -> (String, Option<String>) {
    let mut cmd = Cmd::new("/bin/sh");
    cmd.env("PATH", PATH).args(["-c", MIRROR]);
    let told = cmd.run().expect_success("finding Debian's mirror");
    let text = told.stdout_text();
    let mut words = text.split_whitespace().map(str::to_owned);
    (words.next().expect("a suite"), words.next())
}

/// A tar archive of its root; needs root, `mmdebstrap` and the mirror.
///
/// # Panics
/// When it cannot be made.
pub fn base() -> PathBuf {
    let (suite, mirror) = suite_and_mirror();
    // Only the suite's own packages: no updates, so few indices to fetch.
    let words = [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        "--include=ca-certificates",
        &suite,
    ];
    let key = digest(&[&words.join(" "), mirror.as_deref().unwrap_or_default()]);
    keep(&format!("debian-base-{key}"), |folder| {
        let tar = folder.join("base.tar");
        let mut cmd = Cmd::new("/usr/bin/env");
        cmd.env("PATH", PATH)
            .args(words)
            .arg(&tar)
            .args(&mirror)
            .limit(std::time::Duration::from_secs(300));
        cmd.run().expect_success("mmdebstrap");
        ordinary().own(&tar);
    })
    .join("base.tar")
}
